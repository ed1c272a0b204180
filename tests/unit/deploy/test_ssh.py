"""A session with a host: a program in place of ssh runs the far end here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zturbo.deploy import ssh
from zturbo.deploy.network import HostSpec
from zturbo.deploy.ssh import Session
from zturbo.deploy.units import parse_running
from zturbo.errors import StartError, UsageError

LAST = 'for last; do :; done; exec sh -c "$last"'
"""The host is this one."""


class Host:
    """Makes sessions, each with a program in place of ssh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[str] = []
        self.sessions: list[Session] = []

    def session(self, script: str = LAST, python: str = sys.executable) -> Session:
        program = self.folder / f"ssh{len(self.sessions)}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        spec = HostSpec(name="h", ssh="me@h", python=python)
        self.sessions.append(Session(spec, [str(program)], str(self.folder / "work"), self.told.append))
        return self.sessions[-1]

    def python(self, script: str) -> str:
        """The path of a program in place of Python."""
        program = self.folder / f"python{len(self.sessions)}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        return str(program)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for session in host.sessions:
        session.end()


def test_requests_and_answers(host: Host) -> None:
    session = host.session(f"echo 'Welcome to h'; echo '[1]'; {LAST}")
    session.open()
    assert parse_running(session.ask("hold")) == []
    assert session.ask("has", version="0" * 12) is False
    session.ask("keys", keys={"node-h.key": "secret"})
    assert (host.folder / "work/keys/node-h.key").read_text() == "secret"
    other = host.session()
    other.open()
    assert other.ask("status") == []
    with pytest.raises(StartError, match="another 'zturbo deploy' is at work"):
        other.ask("hold")
    with pytest.raises(StartError, match="is no version"):
        session.ask("unpack", b"x", version="../x")


def test_no_secret_is_on_a_command_line(host: Host) -> None:
    session = host.session(f'echo "$@" >{host.folder}/words; {LAST}')
    session.open()
    session.ask("keys", keys={"node-h.key": "canary"})
    assert "canary" not in (host.folder / "words").read_text()


@pytest.mark.parametrize(
    "script, said",
    [
        (
            "echo 'ssh: connect to host h port 22: Connection refused' >&2; exit 255",
            "'ssh me@h true' has to work",
        ),
        ("echo 'me@h: Permission denied (publickey).' >&2; exit 255", "ssh can ask for no password here"),
        (
            """echo 'Load key "k": bad permissions' >&2; """
            "echo 'me@h: Permission denied (publickey).' >&2; exit 255",
            'Load key "k": bad permissions; me@h: Permission denied (publickey). mend that file',
        ),
        (
            "echo 'Warning: Identity file k not accessible: No such file or directory.' >&2; "
            "echo 'me@h: Permission denied (publickey).' >&2; exit 255",
            "ssh me@h: Identity file k not accessible",
        ),
        ("echo 'Host key verification failed.' >&2; exit 255", "to be accepted once"),
        (
            "echo 'WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!' >&2; "
            "echo 'Host key verification failed.' >&2; exit 255",
            "'ssh-keygen -R HOST' forgets its old key",
        ),
        (
            "echo 'ssh: Could not resolve hostname h: Name or service not known' >&2; exit 255",
            "with 'ssh' in [[host]]",
        ),
        (
            "echo 'ssh: connect to host h port 22: Connection timed out' >&2; exit 255",
            "'ssh me@h true' has to work",
        ),
        ("exec yes zturbo", "does not end its answer"),
        ("head -c 9000000 /dev/zero; exec sleep 60", "does not end its answer"),
        ("head -c 9000000 /dev/zero >&2; exit 3", "ended with exit code 3"),
        ("printf '%0100000d' 0 | tr 0 '['; echo; exit 4", "ended with exit code 4: it says nothing"),
    ],
)
def test_what_ssh_says_is_bounded_and_told(host: Host, script: str, said: str) -> None:
    with pytest.raises(StartError) as failed:
        host.session(script).open()
    assert said in str(failed.value) and len(str(failed.value)) < 40_000


def test_a_python_that_does_not_do(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        StartError, match=r"there is no /gone/python .*: name a Python with 'python' in \[\[host\]\]"
    ):
        host.session(python="/gone/python").open()
    with pytest.raises(StartError, match=r"has no zturbo \(.*\): 'pip install zturbo==.*' there"):
        host.session(python=host.python(f'exec {sys.executable} -S -I "$@"')).open()
    monkeypatch.setattr(ssh, "__version__", "9.9.9")
    with pytest.raises(
        StartError, match=r"has zturbo .*, and this host 9\.9\.9: install one version on all hosts"
    ):
        host.session().open()


def test_a_python_that_cannot_be_run(host: Host) -> None:
    program = host.folder / "python"
    program.write_text("")
    program.chmod(0o600)
    with pytest.raises(
        StartError, match=r"cannot be run \(.*denied\): name a Python with 'python' in \[\[host"
    ):
        host.session(python=str(program)).open()


def test_a_folder_that_cannot_be_written(host: Host) -> None:
    (host.folder / "work").write_text("in the way")
    session = host.session()
    session.open()
    with pytest.raises(
        StartError, match=r"/work.* cannot be written: .*; name another folder with 'workdir' in \[\[host\]\]"
    ):
        session.ask("hold")


def test_a_file_that_cannot_be_written_later(host: Host) -> None:
    session = host.session()
    session.open()
    session.ask("hold")
    (host.folder / "work/keys").write_text("in the way")
    with pytest.raises(StartError, match=r"/work/keys.*: look at the disk and at the rights there, or name"):
        session.ask("keys", keys={"node-h.key": "secret"})


def test_without_ssh() -> None:
    with pytest.raises(UsageError, match="there is no /gone/ssh here"):
        Session(HostSpec(name="h", ssh="h"), ["/gone/ssh"], "~/x", print).open()
