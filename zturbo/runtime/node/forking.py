"""The fork server of a node, seen from the node: it starts children in some milliseconds each.

A node can do without: it starts children as programs where the server does not start, has ended, does not
answer in time, or where a child's environment has to be there when its interpreter starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from zturbo.runtime.process.boot import FORK_SERVER, command
from zturbo.runtime.process.descendants import MARK
from zturbo.runtime.process.forkserver import HEAD, NO_MARK, Order
from zturbo.runtime.process.tunables import with_tunables

__all__ = ["Forked", "Forking", "Unavailable", "start_forking"]

log = logging.getLogger("zturbo.node")

PATIENCE = 2.0
"""Seconds that a child's fork may take; the node's other children wait for their leases meanwhile."""

IMPORTS = 20.0
"""Seconds that the first fork of a module may take: the server imports it."""

_AT_START = ("PYTHON", "LD_", "GLIBC_", "MALLOC_", "LC_", "LANG")
"""How the names of variables begin that an interpreter reads when it starts."""

TITLE = "forks the broker, the sinks and the workers of one node"
"""On its command line. Forked children write their own over it, so it is as long as theirs may be."""

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_adopting = threading.Lock()
"""Held while this process is to become the parent of a forked child: a setting of the whole process."""


class Unavailable(Exception):
    """The server cannot start this child."""


class Forked:
    """A child that was forked: the part of ``subprocess.Popen`` that a node uses.

    Args:
        pid: its process id. Its parent is this process.
        stdin: the descriptor of the pipe to it.
    """

    def __init__(self, pid: int, stdin: int) -> None:
        self.pid = pid
        self.stdin = open(stdin, "wb")  # it is open as long as the child runs
        self.returncode: int | None = None
        """How it ended, once it was reaped: its exit code, or the number of a signal, negative."""

    def poll(self) -> None:
        """Reap it, if it has ended."""
        self._reap(os.WNOHANG)

    def wait(self) -> None:
        """Reap it, once it has ended."""
        self._reap(0)

    def _reap(self, options: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ChildProcessError):  # this process ignores SIGCHLD
                pid, status = os.waitpid(self.pid, options)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """Kill it, if it was not reaped."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Forking:
    """A fork server, which starts to import at once.

    Args:
        modules: the modules that children will run.
        env: the environment of the children; None for the process's own.

    Raises:
        OSError: this host has no room for another process.
    """

    def __init__(self, modules: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._env = dict(os.environ if env is None else env)
        self._speaks = False
        """Whether it has started."""
        self._imported: set[str] = set()
        """Modules that it has imported for sure."""
        own, theirs = socket.socketpair()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with theirs:
                words = command(FORK_SERVER)
                self.process = subprocess.Popen(
                    [*words, str(theirs.fileno()), TITLE],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=with_tunables({**self._env, MARK: self._env.get(MARK, NO_MARK)}),
                )
        except BaseException:
            own.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._socket: socket.socket | None = own
        raw = msgpack.packb(list(modules))
        with contextlib.suppress(ConnectionError):  # it has ended; the first fork finds that
            own.sendall(HEAD.pack(len(raw)) + raw)

    def fork(self, order: Order, fds: Sequence[int], stdin: int) -> tuple[Forked, list[int]]:
        """Start a child.

        Args:
            order: what to start.
            fds: its descriptors, see :class:`~zturbo.runtime.process.forkserver.Order`.
            stdin: this process's end of the pipe to it; the child takes it if there is one.

        Returns:
            The child, and the numbers of the descriptors that it keeps.

        Raises:
            OSError: this host has no room for another process.
            Unavailable: the child has to be started as a program.
        """
        if self._socket is None or _at_start(order.env) != _at_start(self._env):
            raise Unavailable
        try:
            with _adopting:
                answer = self._ask(self._socket, order, fds)
        except (OSError, ValueError) as error:
            log.warning("children are started as programs from now on: the fork server: %s", error)
            self.close()
            raise Unavailable from None
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        return Forked(answer["pid"], stdin), answer["kept"]

    def _ask(self, orders: socket.socket, order: Order, fds: Sequence[int]) -> dict[str, Any]:
        orders.settimeout(PATIENCE if order.module in self._imported else IMPORTS)
        if not self._speaks and orders.recv(1) != b"+":
            raise ValueError("it cannot name its children")
        self._speaks = True
        raw = order.packed()
        _become_subreaper(True)
        try:
            socket.send_fds(orders, [HEAD.pack(len(raw))], fds)
            orders.sendall(raw)
            answer = msgpack.unpackb(_read(orders, HEAD.unpack(_read(orders, HEAD.size))[0]))
            self._imported.add(order.module)
            return dict(answer)
        finally:
            _become_subreaper(False)

    def close(self) -> None:
        """End the server. Its children go on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if not self._imported:
            self.process.kill()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # it is stopped
            self.process.kill()
            self.process.wait()


def start_forking(modules: Sequence[str], env: Mapping[str, str] | None = None) -> Forking | None:
    """A fork server; None if there is no room for it, so that children have to be started as programs."""
    try:
        return Forking(modules, env)
    except OSError as error:
        log.warning("children are started as programs: %s", error)
        return None


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_AT_START)}


def _read(orders: socket.socket, size: int) -> bytes:
    out = b""
    while len(out) < size:
        part = orders.recv(size - len(out))
        if not part:
            raise ConnectionError("it has ended")
        out += part
    return out


def _become_subreaper(on: bool) -> None:
    """Whether orphans among this process's descendants become its children, see prctl(2)."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, int(on), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this process cannot become the parent of forked children")
