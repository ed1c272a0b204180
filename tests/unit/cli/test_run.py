"""By which address a host is reached: as was said, else on the way to the broker; if none, it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from zturbo.cli import main, parser
from zturbo.cli.run import load
from zturbo.errors import UsageError
from zturbo.runtime.net.host import tcp_address
from zturbo.runtime.net.listening import Listening

FILE = '[broker]\nbind = "{bind}"\n[[pipeline]]\nname = "p"\n[[pipeline.stage]]\nname = "s"\nclass = "m:S"\n'


def network(folder: Path, bind: str) -> Path:
    """A network file."""
    file = folder / "net.toml"
    file.write_text(FILE.format(bind=bind))
    return file


def address(folder: Path, bind: str, *words: str) -> str | None:
    """What ``zturbo up`` with these words takes for its host's."""
    args = parser().parse_args(["up", str(network(folder, bind)), *words])
    load(args)
    found: str | None = args.address
    return found


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:5555", "tcp://localhost:5555", "ipc:///tmp/x"])
def test_on_loopback_there_is_none(tmp_path: Path, bind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert address(tmp_path, bind, "--insecure") is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:5555", "tcp://*:5555"])
def test_a_wildcard_does_not_tell(tmp_path: Path, bind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert address(tmp_path, bind, "--insecure") is None
    assert "--address does" in capsys.readouterr().err
    assert address(tmp_path, bind, "--insecure", "--address", "10.0.0.7") == "10.0.0.7"
    assert capsys.readouterr().err == ""


def test_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZTURBO_ADDRESS", "10.0.0.7")
    assert address(tmp_path, "tcp://127.0.0.1:5555", "--insecure") == "10.0.0.7"
    with pytest.raises(UsageError, match="--insecure"):
        address(tmp_path, "tcp://127.0.0.1:5555")


def test_ipv6_addresses_have_their_brackets(tmp_path: Path) -> None:
    assert address(tmp_path, "tcp://[::1]:5555", "--insecure") is None
    assert address(tmp_path, "tcp://[::]:5555", "--insecure", "--address", "fd00::7") == "fd00::7"
    assert tcp_address("fd00::7", "*") == "tcp://[fd00::7]:*"
    assert tcp_address("10.0.0.7", 1) == "tcp://10.0.0.7:1"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("tcp://fd00::7:5555", "tcp://[fd00::7]:5555"),
        ("tcp://fe80::7%eth0:5555", "tcp://[fe80::7%eth0]:5555"),
        ("tcp://[fd00::7]:5555", "tcp://[fd00::7]:5555"),
        ("tcp://10.0.0.7:5555", "tcp://10.0.0.7:5555"),
        ("tcp://head:5555", "tcp://head:5555"),
        ("ipc:///run/fd00::7:5555", "ipc:///run/fd00::7:5555"),
    ],
)
def test_brackets_that_a_launcher_has_left_out(tmp_path: Path, given: str, taken: str) -> None:
    args = parser().parse_args(["stage", str(network(tmp_path, "tcp://127.0.0.1:5555")), "p.s"])
    args.broker = given
    assert load(args).broker.bind == taken


@pytest.mark.parametrize(
    ("words", "listening"),
    [
        (["--ports", "5600-5609"], Listening(("127.0.0.1",), (5600, 5609))),
        (["--insecure", "--address", "10.0.0.7, fd00::7"], Listening(("10.0.0.7", "fd00::7"))),
        (["--insecure", "--address", "[fd00::7]"], Listening(("fd00::7",))),
        (["--insecure", "--address", "localhost,10.0.0.7"], Listening(("127.0.0.1", "10.0.0.7"))),
        (["--insecure", "--bind", "0.0.0.0", "--ports", "5600"], Listening(("0.0.0.0",), (5600, 5600))),
        (["--insecure", "--interface", "lo"], Listening(("127.0.0.1",))),
        (
            ["--insecure", "--advertise", "203.0.113.5:7000", "--ports", "5600-5609"],
            Listening(("0.0.0.0",), (5600, 5609), (("203.0.113.5", 7000),)),
        ),
        (
            ["--insecure", "--advertise", "2001:db8::5", "--bind", "fd00::7"],
            Listening(("fd00::7",), None, (("2001:db8::5", 0),)),
        ),
    ],
)
def test_where_processes_listen(tmp_path: Path, words: list[str], listening: Listening) -> None:
    args = parser().parse_args(["sink", str(network(tmp_path, "tcp://127.0.0.1:5555")), *words])
    load(args)
    found = args.listening
    if "lo" in words:
        assert found.hosts[0] == "127.0.0.1"
    else:
        assert found == listening


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--advertise", "203.0.113.5"], "or accept it with --insecure"),
        (["--insecure", "--advertise", "203.0.113.5:7000"], "needs --ports"),
        (["--insecure", "--advertise", "nohost.invalid"], "this host does not know the name nohost.invalid"),
        (["--insecure", "--address", "nohost.invalid"], "--address: this host does not know the name nohost"),
        (["--insecure", "--bind", "nohost.invalid"], "--bind: this host does not know the name nohost.inva"),
        (["--interface", "ib9"], "this host has no card 'ib9'"),
        (["--ports", "5"], ""),
    ],
)
def test_mistakes_in_where_processes_listen(tmp_path: Path, words: list[str], says: str) -> None:
    args = parser().parse_args(["sink", str(network(tmp_path, "tcp://127.0.0.1:5555")), *words])
    if not says:
        load(args)
        return
    with pytest.raises(UsageError, match=says):
        load(args)


def test_check_and_up_refuse_too_few_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = network(tmp_path, "tcp://127.0.0.1:5555")
    file.write_text(file.read_text() + '\n[listen]\nports = "5600-5602"\n')
    for command in ("check", "up"):
        assert main([command, str(file)]) == 2
        said = capsys.readouterr().err
        assert "listen.ports: 5600-5602 are 3 ports, and all processes on one host take 4" in said
