"""What keeps a worker's process apart from what its stage's code does: descriptors, forks, exits."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.cluster import eventually
from zturbo.runtime.node.children import UNKNOWN, Child, ChildSpec, describe_exit
from zturbo.runtime.process.descendants import MARK, end_descendants, marked
from zturbo.runtime.process.descriptors import Descriptors, opened, out_of_the_way

FORKS = """
import os, signal, time
from zturbo.runtime.process.forked import part_on_fork
from zturbo.runtime.process.running import RunningNote

note = RunningNote(RunningNote.make())
handlers = {signal.SIGTERM: lambda *_: None, signal.SIGUSR1: lambda *_: None}
for number, handler in handlers.items():
    signal.signal(number, handler)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # of the stage's code
part_on_fork(note, handlers)
note.begin(b"j" * 16, 1, (1,), False)
note.task(7)

def outcome(call):
    pid = os.fork()
    if not pid:
        call()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

print(outcome(lambda: None), outcome(lambda: os.kill(os.getpid(), signal.SIGTERM)))
print(outcome(lambda: os.kill(os.getpid(), signal.SIGUSR1)))
print([outcome(call) for call in (lambda: note.end(), lambda: note.task(8), lambda: note.leave(1))])
print(outcome(lambda task=note.task: task(8)))
print(note.read()[0].path, signal.getsignal(signal.SIGTERM) is handlers[signal.SIGTERM])
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_a_forked_process_leaves_handlers_and_note_to_the_worker() -> None:
    ran = subprocess.run([sys.executable, "-u", "-c", FORKS], capture_output=True, text=True, timeout=60)
    assert ran.stdout.split("\n")[:-1] == ["0 -15", "0", "[1, 1, 1]", "1", "(1, 7) True", "set()"], ran.stderr
    assert ran.stderr.count("came back from that code") == 3


def test_a_descriptor_is_moved_above_the_usual_ones() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    moved = out_of_the_way(writer)
    try:
        os.write(moved, b"x")
        assert os.read(reader, 1) == b"x"
        assert not os.get_inheritable(moved)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
        if limits[1] >= 2048:
            assert moved >= 1024
            assert writer not in opened()
        assert out_of_the_way(moved) == moved, "it stays where it is"
    finally:
        os.close(reader)
        os.close(moved)


@pytest.mark.parametrize("again", [None, "a file", "its like"])
def test_a_lost_descriptor_is_seen(again: str | None) -> None:
    """Also where its number stands for another file by now."""
    before = opened()
    poll, event = select.epoll(), os.eventfd(0)
    server, (one, other) = socket.create_server(("127.0.0.1", 0)), socket.socketpair()
    plain = os.open(os.devnull, os.O_RDONLY)
    descriptors = Descriptors(opened() - before)
    os.close(plain)
    one.close()
    other.close()
    assert descriptors.there(), "connections and files come and go"
    os.close(event)
    if again is not None:
        new = os.eventfd(0) if again == "its like" else os.open(os.devnull, os.O_RDONLY)
        os.dup2(new, event)
        if new != event:
            os.close(new)
    assert not descriptors.there()
    poll.close()
    server.close()
    if again is not None:
        os.close(event)


def test_marked_processes_end_wherever_they_are() -> None:
    mark = os.urandom(16).hex()
    env = {**os.environ, MARK: mark}
    shell = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"], env=env)
    apart = subprocess.Popen(["sleep", "600"], env=env, start_new_session=True)
    other = subprocess.Popen(["sleep", "600"], env={**env, MARK: "another"})
    try:
        end_descendants(mark, os.getpid())
        assert shell.wait(30) == apart.wait(30) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    eventually(lambda: not marked(mark))  # a signal is delivered later than it is sent


@pytest.mark.parametrize("how", ["ignored", "reaped"])
def test_an_exit_that_another_has_reaped_is_no_clean_one(how: str) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN if how == "ignored" else signal.SIG_DFL)
    try:
        child = Child(ChildSpec("sink", "sink", "this_module_is_not_there"), bytes(16))
        if how == "reaped":
            os.waitpid(child.pid, 0)
        else:
            poll = select.poll()
            poll.register(child.pidfd, select.POLLIN)
            poll.poll()
        assert child.exited() == UNKNOWN
        assert child.exited() == UNKNOWN
        assert "SIGCHLD" in describe_exit(UNKNOWN)
        child.signal(signal.SIGTERM)
        child.close()
    finally:
        signal.signal(signal.SIGCHLD, before)
