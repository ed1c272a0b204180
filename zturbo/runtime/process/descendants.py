"""Processes that a stage's code has started: they end with their worker.

A worker leads a session of its own. So a signal that its code sends to its own process group reaches no
process outside, and all of that group can be killed at once. But a process may have left the group, as a
daemon does. So each worker has a mark in its environment. All processes that it starts inherit the mark, and
are found by it in ``/proc``. To let a program outlive the worker, start it in a session of its own and
without that variable.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal

__all__ = ["MARK", "end_descendants", "marked"]

log = logging.getLogger("zturbo.node")

MARK = "ZTURBO_WORKER"
"""The environment variable with a worker's mark."""

ROUNDS = 20
"""Searches for marked processes at most: each may find another one."""


def marked(mark: str) -> list[int]:
    """Process ids of this user's processes with this mark, without this process itself."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError as error:  # this process has no descriptors left
        log.error("processes that a worker has started cannot be looked up, and may go on: %s", error)
        return []
    return [pid for pid in pids if pid != os.getpid() and _has(pid, mark)]


def _has(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:  # it is gone, or another user's
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def end_descendants(mark: str, leader: int) -> None:
    """Kill all processes that a worker has started.

    Args:
        mark: of the worker.
        leader: the worker's process id. The worker has ended and is not reaped yet, so no other group has its
            number. Or the worker is this process, and about to end: then the caller kills its group, as its
            last act.
    """
    if leader != os.getpid():
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGKILL)
    killed: set[int] = set()
    for _ in range(ROUNDS):  # a process may just have started another one
        new = [pid for pid in marked(mark) if pid not in killed]
        for pid in new:
            _kill(pid, mark)
        if not new:
            return
        killed.update(new)


def _kill(pid: int, mark: str) -> None:
    """Kill this process if it still has the mark: its number may belong to another one by now."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if _has(pid, mark):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
