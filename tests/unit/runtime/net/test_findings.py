"""What an address shows where no process of ours answers."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import eventually
from zturbo.runtime.net import findings
from zturbo.runtime.net.binds import bind_failure
from zturbo.runtime.net.findings import Examiner, examine, is_resolved


@pytest.fixture
def port() -> int:
    """A port at which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def test_a_port_where_no_process_listens(port: int) -> None:
    where = f"127.0.0.1:{port}"
    assert examine(f"tcp://{where}") == (
        False,
        f"{where} refuses the connection: no process listens there",
    )


def test_a_port_where_a_process_listens() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        where = f"127.0.0.1:{other.getsockname()[1]}"
        assert examine(f"tcp://{where}") == (True, f"{where} takes connections")


@pytest.mark.parametrize("host", ["fe80::7", "FE80::7"])
def test_a_link_local_address_without_a_card(host: str) -> None:
    answers, seen = examine(f"tcp://[{host}]:5555")
    assert not answers
    assert "a link-local address, which names no card" in seen and "write [fe80::7%CARD]" in seen
    assert "a link-local address" in bind_failure(f"tcp://[{host}]:5555", errno.EINVAL)


def test_a_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "b"
    assert examine(f"ipc://{path}") == (False, f"there is no socket {path} on this host")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert examine(f"ipc://{path}") == (
            False,
            f"{path} refuses the connection: no process listens there",
        )


def test_a_name(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    real = socket.getaddrinfo

    def found(host: str, port: Any, family: int = 0, kind: int = 0) -> Any:
        if host == "head" and family == socket.AF_INET:
            return real("127.0.0.1", port, family, kind)
        if host == "six" and family == socket.AF_INET6:
            return real("::1", port, family, kind)
        raise socket.gaierror(
            socket.EAI_AGAIN if host == "away" else socket.EAI_NONAME,
            "Temporary failure" if host == "away" else "Name or service not known",
        )

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert examine(f"tcp://head:{port}")[1].startswith(f"head is 127.0.0.1, and 127.0.0.1:{port} refuses")
    assert examine("tcp://hed:5")[1] == "this host does not know the name hed (Name or service not known)"
    assert examine("tcp://away:5")[1] == "no name server answers for the name away (Temporary failure)"
    assert is_resolved("tcp://head:5") and not is_resolved("tcp://hed:5") and is_resolved("ipc:///no/name")
    assert "only ::1: write it as tcp://[::1]:PORT" in examine("tcp://six:5")[1]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENETUNREACH, "this host has no IPv6 route to [fd00::1]:5"),
        (errno.EHOSTUNREACH, "cannot be reached"),
        (errno.EINVAL, "this host may not connect to"),
        (errno.ETIMEDOUT, "a firewall drops packets"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_each_failure_has_a_sentence(monkeypatch: pytest.MonkeyPatch, code: int, says: str) -> None:
    def connect(self: socket.socket, where: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket.socket, "connect", connect)
    answers, text = examine("tcp://[fd00::1]:5")
    assert not answers and says in text


def test_what_is_seen_is_told_once_and_again_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = ["refuses"]
    looked = threading.Event()

    def look(address: str) -> tuple[bool, str]:
        looked.set()
        return seen[0] == "takes connections", seen[0]

    monkeypatch.setattr(findings, "examine", look)
    examiner = Examiner("tcp://127.0.0.1:5", "broker")
    now = 100.0

    def news() -> str:
        """What one look has to tell."""
        nonlocal now
        looked.clear()
        now = max(now, examiner.deadline())
        assert not examiner.news(now, answers=False), "the look begins"
        assert looked.wait(20)
        told: list[str] = []

        def ended() -> bool:
            nonlocal now
            now = examiner.deadline()
            told.append(examiner.news(now, answers=False))
            return examiner.deadline() - now > findings.LOOK

        eventually(ended)
        return told[-1]

    assert examiner.news(now, answers=True) == "" and not looked.is_set(), "there is no need to look"
    assert examiner.news(now, answers=False) == "" and not looked.is_set(), "it is patient"
    assert news() == "refuses"
    assert news() == "", "it was told"
    seen[0] = "takes connections"
    assert news() == "takes connections, but no broker answers there"
    assert examiner.news(now, answers=True) == "" and examiner.seen == ""
    examiner.news(now, answers=False)
    assert news() == "takes connections, but no broker answers there", "of another silence"


def test_a_name_that_is_resolved_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def look(address: str) -> tuple[bool, str]:
        end.wait()
        return False, "known at last"

    monkeypatch.setattr(findings, "examine", look)
    examiner = Examiner("tcp://head:5", "broker", 0.0)
    examiner.news(0.0, answers=False)
    examiner.news(0.0, answers=False)
    assert "is still being resolved" in examiner.news(findings.RESOLVE + 0.1, answers=False)
    end.set()
    eventually(lambda: examiner.news(examiner.deadline(), answers=False) == "known at last")
