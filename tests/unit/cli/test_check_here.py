"""``zturbo check`` refuses what ``zturbo up`` would refuse on this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from zturbo import Stage, Task
from zturbo.cli import main
from zturbo.errors import StartError
from zturbo.runtime.net import keys
from zturbo.runtime.net.sockets import make

FILE = """
[broker]
bind = "{bind}"
state = "{state}"

[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "s"
  class = "tests.unit.cli.test_check_here:{cls}"
  {more}
"""


class Plain(Stage):
    def process(self, task: Task) -> Task:
        return task


class NoSlots(Plain):
    job_slots = 0


class NoneAtATime(Stage):
    max_concurrency = 0

    async def process(self, task: Task) -> Task:
        return task


@pytest.mark.parametrize(
    ("cls", "bind", "state", "more", "says"),
    [
        ("NoSlots", "", "", "", "job_slots"),
        ("NoneAtATime", "", "", "", "max_concurrency"),
        ("Plain", "ipc://{folder}/" + 120 * "b", "", "", "is too long"),
        ("Plain", "", "{folder}/network.toml/state", "", "network.toml is not a folder"),
        ("Plain", "", "", "resources = {{ gpu = 1000 }}", "do not fit"),
        ("Plain", "", "", "workers = 1000000", "pipeline: 1000002 processes are to start"),
        ("Plain", "ipc://{folder}/none/b", "", "", "there is no folder {folder}/none"),
        ("Plain", "ipc://{folder}", "", "", "{folder} is a folder"),
        ("Plain", "ipc://@broker", "", "", "each user of this host can reach it"),
    ],
)
def test_what_up_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cls: str, bind: str, state: str, more: str, says: str
) -> None:
    file = tmp_path / "network.toml"
    file.write_text(
        FILE.format(
            cls=cls,
            bind=(bind or "ipc://{folder}/b").format(folder=tmp_path),
            state=(state or "{folder}/not/yet").format(folder=tmp_path),
            more=more.format(),
        )
    )
    assert main(["check", str(file)]) == 2
    printed = capsys.readouterr()
    assert says.format(folder=tmp_path) in printed.err and not printed.out, printed
    assert not (tmp_path / "not").exists(), "it makes no folder"


@pytest.mark.parametrize(
    ("broker", "listen", "says"),
    [
        ('keys = "none"', "", "broker.keys: {folder}/none cannot be read: No such file"),
        ('keys = "keys"', "", "broker.keys: others can read {folder}/keys (mode 755)"),
        ("", 'interface = "nocard0"', "listen.interface: --interface: this host has no card 'nocard0'"),
    ],
)
def test_what_up_would_refuse_where_it_listens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broker: str, listen: str, says: str
) -> None:
    file = tmp_path / "network.toml"
    keys.make_folder(tmp_path / "keys")
    (tmp_path / "keys").chmod(0o755)

    def check(address: str) -> int:
        text = FILE.format(cls="Plain", bind=address, state=tmp_path, more="")
        file.write_text(text.replace("[broker]", f"[listen]\n{listen}\n[broker]\n{broker}"))
        return main(["check", str(file)])

    assert check("tcp://127.0.0.1:5555") == 2
    assert says.format(folder=tmp_path) in capsys.readouterr().err
    assert check("tcp://192.0.2.77:5555") == 0, "that host has its own keys and cards"


def test_the_environment_counts_as_it_does_for_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "network.toml"
    file.write_text(FILE.format(cls="Plain", bind=f"ipc://{tmp_path}/b", state=tmp_path, more=""))
    monkeypatch.setenv("ZTURBO_PORTS", "1")
    assert main(["check", str(file)]) == 2
    assert "all processes on one host take 4" in capsys.readouterr().err
    monkeypatch.delenv("ZTURBO_PORTS")
    monkeypatch.setenv("ZTURBO_BIND", "tcp://127.0.0.1")
    assert main(["check", str(file)]) == 2
    assert "$ZTURBO_BIND: expected an address" in capsys.readouterr().err


def test_a_file_that_needs_more_than_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "network.toml"
    file.write_text(FILE.format(cls="Plain", bind="tcp://192.0.2.7:5555", state=tmp_path, more=""))
    assert main(["check", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"'zturbo up {file} --keys keys' runs it" in printed
    assert (
        "it has to run on another host: cannot bind tcp://192.0.2.7:5555: 192.0.2.7 is not an address"
        in printed
    )


def test_an_address_that_cannot_be_bound_is_named_with_the_reason() -> None:
    import zmq

    with zmq.Context() as context:
        with pytest.raises(
            StartError, match=r"cannot bind tcp://192\.0\.2\.7:5555: 192\.0\.2\.7 is not an addr"
        ):
            make(context, zmq.PULL, bind="tcp://192.0.2.7:5555")
