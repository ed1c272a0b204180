"""Children that are forked: as they would be had they been started as programs, and watched as these are."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from zturbo.runtime.node import forking as module
from zturbo.runtime.node.children import Child, ChildSpec
from zturbo.runtime.node.forking import Forked, Forking, Unavailable
from zturbo.runtime.process.descendants import MARK, marked
from zturbo.runtime.process.forkserver import Order

MINE = os.urandom(16).hex()
"""A mark that no process of another test run has."""

ECHO = "tests.stages.echo_child"
"""Writes what it finds of itself to the first descriptor that it keeps, then ends with exit code 7."""


@pytest.fixture
def server() -> Iterator[Forking]:
    forking = Forking([ECHO])
    yield forking
    forking.close()


def order(folder: Path, **changed: object) -> Order:
    fields = {
        "module": ECHO,
        "name": "video.detect",
        "env": {**os.environ, MARK: MINE, "COLOUR": "blue"},
        "folder": str(folder),
        "cpus": [min(os.sched_getaffinity(0))],
        "leads": True,
        "kept": 1,
    }
    return Order(**{**fields, **changed})  # type: ignore[arg-type]


def begin(server: Forking, what: Order, undo: ExitStack) -> tuple[Forked, int]:
    """A child that waits, and the descriptor of its report."""
    stdin, ours = os.pipe()
    report, kept = os.pipe()
    undo.callback(os.close, report)
    try:
        child, numbers = server.fork(what, [stdin, kept], ours)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(stdin)
        os.close(kept)
    undo.callback(child.wait)
    undo.callback(child.kill)
    child.stdin.write(f"{numbers[0]}\n".encode())
    child.stdin.flush()
    return child, report


def lines(report: int) -> dict[str, str]:
    text = b""
    while part := os.read(report, 4096):
        text += part
    return dict(line.split("=", 1) for line in text.decode().splitlines())


def test_a_forked_child_is_as_a_program_would_be(server: Forking, tmp_path: Path) -> None:
    with ExitStack() as undo:
        what = order(tmp_path)
        child, report = begin(server, what, undo)
        found = lines(report)
        assert found == {
            "name": "__main__",
            "argv": found["argv"],
            "folder": os.path.realpath(tmp_path),
            "colour": "blue",
            "mark": MINE,
            "cpus": str(what.cpus),
            "session": str(child.pid),
            "parent": str(os.getpid()),
            "threads": "1",
            "open": found["open"],
            "interrupt": "blocked",
            "tunables": str(what.env.get("GLIBC_TUNABLES")),
            "pages": found["pages"],
        }
        assert found["argv"].endswith("echo_child.py"), "as python -m"
        assert len(found["open"].split()) == 4, "stdin, stdout, stderr, and the one that it keeps"
        words = Path(f"/proc/{child.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert words[-2:] == [ECHO.encode(), b"video.detect"]
        assert marked(MINE) == [child.pid], "its own mark is found in /proc, not the server's"
        child.stdin.close()
        pidfd = os.pidfd_open(child.pid)
        try:
            end = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        finally:
            os.close(pidfd)
        assert end is not None and (end.si_code, end.si_status) == (os.CLD_EXITED, 7)
        child.poll()
        assert child.returncode == 7


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has no such choice")
def test_a_forked_child_keeps_the_memory_of_large_buffers(server: Forking, tmp_path: Path) -> None:
    with ExitStack() as undo:
        _, report = begin(server, order(tmp_path), undo)
        assert int(lines(report)["pages"]) < 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has no such choice")
def test_a_child_that_is_a_program_keeps_it_too_and_programs_that_it_starts_do_not() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC_", "MALLOC_"))}
    report, output = os.pipe()
    child = Child(ChildSpec("sink", "echo", ECHO), bytes(16), {**env, "PYTHONPATH": os.getcwd()}, output)
    os.close(output)
    try:
        assert isinstance(child.process, subprocess.Popen) and child.process.stdin is not None
        child.process.stdin.write(b"1")  # its stdout
        child.process.stdin.close()
        found = lines(report)
        assert found["tunables"] == "None"
        assert int(found["pages"]) < 100
    finally:
        os.close(report)
        child.process.kill()
        child.process.wait()
        child.close()


def test_a_child_of_another_environment_for_its_interpreter_is_not_forked(
    server: Forking, tmp_path: Path
) -> None:
    with ExitStack() as undo, pytest.raises(Unavailable):
        begin(server, order(tmp_path, env={**os.environ, "PYTHONHASHSEED": "77"}), undo)


def test_without_its_server_a_node_is_told_to_start_programs(server: Forking, tmp_path: Path) -> None:
    with ExitStack() as undo:
        child, report = begin(server, order(tmp_path), undo)
        server.process.kill()
        with pytest.raises(Unavailable):
            begin(server, order(tmp_path), undo)
        assert lines(report)["parent"] == str(os.getpid()), "the server's children live on"
        child.stdin.close()


def test_a_server_that_stands_still_is_not_waited_for(
    server: Forking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as undo:
        child, _ = begin(server, order(tmp_path), undo)
        child.stdin.close()
        monkeypatch.setattr(module, "PATIENCE", 0.2)
        os.kill(server.process.pid, signal.SIGSTOP)
        with pytest.raises(Unavailable):
            begin(server, order(tmp_path), undo)
    assert server.process.poll() == -signal.SIGKILL


def test_a_server_ends_with_its_node(server: Forking, tmp_path: Path) -> None:
    with ExitStack() as undo:
        child, report = begin(server, order(tmp_path), undo)
        server.close()
        assert server.process.returncode == 0, "by itself, since its socket was closed"
        assert lines(report)["parent"] == str(os.getpid())
        child.stdin.close()


def test_ctrl_c_does_not_end_it(server: Forking, tmp_path: Path) -> None:
    with ExitStack() as undo:
        for _ in range(2):
            child, report = begin(server, order(tmp_path), undo)
            assert lines(report)["interrupt"] == "blocked"
            child.stdin.close()
            os.kill(server.process.pid, signal.SIGINT)


def test_servers_of_several_threads_do_not_take_children_from_each_other(tmp_path: Path) -> None:
    parents: list[str] = []

    def work() -> None:
        forking = Forking([ECHO])
        with ExitStack() as undo:
            undo.callback(forking.close)
            for _ in range(5):
                child, report = begin(forking, order(tmp_path), undo)
                parents.append(lines(report)["parent"])
                child.stdin.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parents == [str(os.getpid())] * 15


def test_a_module_that_cannot_be_imported_ends_the_server_not_the_node(tmp_path: Path) -> None:
    forking = Forking(["tests.stages.no_such_module"])
    try:
        with ExitStack() as undo, pytest.raises(Unavailable):
            begin(forking, order(tmp_path, module="tests.stages.no_such_module"), undo)
        assert isinstance(forking.process, subprocess.Popen)
    finally:
        forking.close()
