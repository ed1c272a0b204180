"""``zturbo doctor``: each fault has a line with what to do, and a host without a fault has none."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.four_hosts import ask, some_hosts
from tests.support.hosts import Hosts
from zturbo.cli import health, main
from zturbo.errors import AccessDenied

FILE = """
[broker]
bind = "{bind}"
state = "{state}"

[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "s"
  class = "tests.stages.basic:Add"
  workers = {workers}
"""


def faults(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("FAULT")]


def test_a_host_without_a_fault_before_and_after_a_start(capsys: pytest.CaptureFixture[str]) -> None:
    with Cluster({"p": [stage("s", "Add")]}) as cluster:
        before = f"ipc://{cluster.state}/other"
        assert main(["doctor", "--broker", before]) == 0
        printed = capsys.readouterr().out
        assert not faults(printed) and "no broker runs yet: there is no socket" in printed, printed
        with cluster.client():
            assert main(["doctor", "--broker", cluster.address]) == 0
        printed = capsys.readouterr().out
        assert not faults(printed) and f"a broker answers at {cluster.address}" in printed, printed
        assert " the broker's clock. No decision depends on clocks" in printed


def test_faults_of_this_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "network.toml"
    file.write_text(FILE.format(bind="tcp://127.0.0.1:5555", state=tmp_path / "file/state", workers=5000))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(health, "ROOM_SHARED", 1 << 62)
    monkeypatch.setattr(health, "PACKAGES", ("no-such-package",))
    assert main(["doctor", str(file), "--broker", f"ipc://{tmp_path}/b"]) == 1
    found = faults(capsys.readouterr().out)
    assert [line.split()[1] for line in found] == ["package:", "limit:", "shared", "state:"]
    assert "pip install no-such-package" in found[0] and "raise it to 20256 or more" in found[1]
    assert "--shm-size" in found[2] and "file is not a folder" in found[3]
    assert main(["doctor", str(file), "--broker", f"ipc://{tmp_path}/b", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (
        told["faults"] == 4 and [c["text"] for c in told["checks"] if not c["good"] if not c["advice"]] == []
    )


def test_ports_of_the_file_that_others_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "network.toml"
    text = FILE.format(bind="tcp://127.0.0.1:5555", state=tmp_path, workers=1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        file.write_text(f'{text}\n[listen]\nports = "{port}"\n')
        assert main(["doctor", str(file), "--broker", f"ipc://{tmp_path}/b"]) == 1
        (fault,) = faults(capsys.readouterr().out)
        assert f"all ports of 127.0.0.1 from {port} to {port} are in use" in fault
    assert main(["doctor", str(file), "--broker", f"ipc://{tmp_path}/b"]) == 0
    assert f"port {port} of 127.0.0.1 is free" in capsys.readouterr().out


def test_a_broker_that_wants_another_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AccessDenied("it wants a key, and this process has none")

    monkeypatch.setattr(health, "Client", refused)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert main(["doctor", "--broker", f"tcp://127.0.0.1:{server.getsockname()[1]}"]) == 1
    (fault,) = faults(capsys.readouterr().out)
    assert "it wants a key" in fault and "'zturbo keys --help'" in fault and "other program" not in fault


def doctor(hosts: Hosts, host: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """(exit code, faults) of a host's doctor."""
    process = hosts.run(host, "zturbo", "doctor", "--json", *words, stdout=subprocess.PIPE)
    told, _ = process.communicate(timeout=60)
    return process.returncode, [check for check in json.loads(told)["checks"] if not check["good"]]


def test_ways_to_other_hosts() -> None:
    with some_hosts("abc", lease=60.0) as (hosts, file):
        broker = ("--broker", "tcp://10.99.0.1:5555")
        assert doctor(hosts, "b", file) == (0, []), "the broker is not started yet"
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        hosts.run("b", "zturbo", "sink", file, *broker, "--insecure")

        def there(count: int = 2) -> bool:
            asked = ask(hosts, "a", "hosts", "--json")
            return asked.returncode == 0 and len(json.loads(asked.stdout)) == count

        eventually(there)
        assert doctor(hosts, "c", file) == (0, [])
        hosts.break_link("b", "c")
        code, found = doctor(hosts, "c", file)
        assert code == 1 and found and {fault["check"] for fault in found} == {"port"}
        assert all("sink on " in fault["text"] and "10.99.0.2:" in fault["text"] for fault in found)
        hosts.mend_link("b", "c")
        # the other direction: b looks at the ports of c, which a firewall closes
        hosts.run("c", "zturbo", "stage", file, "p.second", *broker, "--insecure")
        eventually(lambda: there(3))
        assert doctor(hosts, "c", file) == (0, [])
        hosts.close_ports("c")
        code, found = doctor(hosts, "c", file)
        assert code == 1 and [fault["check"] for fault in found] == ["port"]
        text, advice = found[0]["text"], found[0]["advice"]
        assert text.startswith("from b") and "p.second (process " in text
        assert "10.99.0.3:" in text and "has not answered" in text
        assert advice.startswith("open this port of this host for b")
        code, found = doctor(hosts, "b", "--broker", "tcp://10.99.0.9:5555")
        assert code == 1 and [fault["check"] for fault in found] == ["broker"]
        code, found = doctor(hosts, "b", "--broker", "tcp://nohost.invalid:5555")
        assert code == 1 and [fault["check"] for fault in found] == ["name"]
