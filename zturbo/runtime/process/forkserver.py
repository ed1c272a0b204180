"""The fork server: a process that has imported the modules of a node's children, and forks each child.

To start an interpreter and to import takes a child a quarter of a second of CPU, a fork some milliseconds.
The server has no thread and no socket of ZeroMQ, and runs no user's code. Its children are as they would be
had the node started each as a program: the same descriptors, environment, folder, CPUs, command line, and
import path, and no module of the user's.

Requests come through a socket with the child's descriptors (:class:`Order`). A child is forked by a process
that ends at once, so the child's parent becomes the node, which is the "subreaper" for that moment (see
prctl(2)): the node watches and reaps a forked child as any other. When the socket closes, the server ends.

In ``/proc`` a process has the command line and environment of the program that it began as. Both lie in its
memory, and a forked child writes its own there: the mark by which the processes of a worker are found
(:mod:`zturbo.runtime.process.descendants`), and the module with the child's name.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any

import msgpack

from zturbo.runtime.process.descendants import MARK
from zturbo.slotted import slotted

__all__ = ["HEAD", "NO_MARK", "Order", "serve"]

HEAD = struct.Struct("<I")
"""The length of an order or an answer, in bytes, which precedes it."""

MOST = 16
"""Descriptors that come with an order, at most."""

NO_MARK = "0" * 32
"""The mark in the server's own environment; as long as any."""


@slotted
class Order:
    """A child to fork. Its descriptors come with it: stdin, those that it keeps, and perhaps its output.

    Args:
        module: the module that it runs, as ``python -m`` would.
        name: for people, on its command line.
        env: its environment.
        folder: its working directory.
        cpus: the CPUs that it runs on; empty for all of the server's.
        leads: whether it leads a session of its own.
        kept: the number of descriptors that it keeps.
    """

    module: str
    name: str
    env: dict[str, str]
    folder: str
    cpus: list[int]
    leads: bool
    kept: int

    def packed(self) -> bytes:
        """The bytes of the order."""
        fields = [self.module, self.name, self.env, self.folder, self.cpus, self.leads, self.kept]
        raw: bytes = msgpack.packb(fields, unicode_errors=_ODD)
        return raw

    @classmethod
    def read(cls, raw: bytes) -> Order:
        """The order in these bytes."""
        return cls(*msgpack.unpackb(raw, unicode_errors=_ODD))


_ODD = "surrogateescape"
"""Names of files, and variables, may have bytes that are no text."""


def serve(fd: int) -> str:
    """Import modules, and fork a child for each order. Returns in the children alone: their module.

    Args:
        fd: the socket of the orders. Before these the names of the modules come that children will run, those
            that are needed first before the others. Each is imported with all that it needs; a child runs it
            anew, as a program.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # it ends with the node; children unblock it
    orders = socket.socket(fileno=fd)
    memory = _Memory()
    _tell(orders, b"+" if memory.has_mark else b"-")
    missing: list[str] = msgpack.unpackb(_read(orders))
    while True:
        while missing and not select.select([orders], [], [], 0)[0]:
            _import(missing.pop(0))
        order, fds = _receive(orders)
        if order.module in missing:
            missing.remove(order.module)
            _import(order.module)
        gc.freeze()  # a collection would write to the pages that all share
        answer: dict[str, Any]
        try:
            started = _fork()
        except OSError as error:
            answer = {"errno": error.errno}
        else:
            if started is None:
                orders.close()
                return _become(order, fds, memory)
            answer = {"pid": started, "kept": fds[1 : 1 + order.kept]}
        for number in fds:
            os.close(number)
        raw: bytes = msgpack.packb(answer)
        _tell(orders, HEAD.pack(len(raw)) + raw)


def _tell(orders: socket.socket, raw: bytes) -> None:
    try:
        orders.sendall(raw)
    except ConnectionError:  # the node is gone
        os._exit(0)


def _import(module: str) -> None:
    """Import a module with all that it needs, and forget the module itself."""
    importlib.import_module(module)
    if hasattr(sys.modules[module], "__path__"):
        module = f"{module}.__main__"
        importlib.import_module(module)
    del sys.modules[module]


def _receive(orders: socket.socket) -> tuple[Order, list[int]]:
    """The next order with its descriptors. If there is none any more, this process ends."""
    fds: list[int] = []
    order = Order.read(_read(orders, fds))
    for number in fds:
        os.set_inheritable(number, False)
    return order, fds


def _read(orders: socket.socket, fds: list[int] | None = None) -> bytes:
    """What the node says next; descriptors that come with it are added to ``fds``."""
    try:
        head, new, _, _ = socket.recv_fds(orders, HEAD.size, MOST)
        if fds is not None:
            fds += new
        size = HEAD.unpack(head)[0] if len(head) == HEAD.size else 0
        raw = orders.recv(size, socket.MSG_WAITALL)
    except ConnectionError:
        os._exit(0)
    if not raw or len(raw) < size:
        os._exit(0)
    return raw


def _fork() -> int | None:
    """The process id of a new child; None in the child.

    Raises:
        OSError: this host has no room for another process.
    """
    reader, writer = os.pipe()
    try:
        between = os.fork()
        if not between:
            _fork_again(writer)
            return None
        os.waitpid(between, 0)
        pid, errno = struct.unpack("<ii", os.read(reader, 8))
    finally:  # in the child, too
        os.close(reader)
        os.close(writer)
    if errno:
        raise OSError(errno, os.strerror(errno))
    return int(pid)


def _fork_again(writer: int) -> None:
    """Fork the child from the process between, which ends. Returns in the child."""
    pid, errno = -1, 0
    try:
        pid = os.fork()
    except OSError as error:
        errno = error.errno or 1
    if not pid:
        return
    try:
        os.write(writer, struct.pack("<ii", pid, errno))
    finally:
        os._exit(0)


def _become(order: Order, fds: list[int], memory: _Memory) -> str:
    """Make this process the child. Returns its module."""
    if order.leads:
        os.setsid()
    if order.cpus:
        with suppress(OSError):  # a CPU was just taken from this host, or from this cgroup
            os.sched_setaffinity(0, order.cpus)
    output = fds[1 + order.kept :]
    for target, number in zip((0, 1, 2), [fds[0], *output], strict=False):
        os.dup2(number, target)
        os.close(number)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.env)
    time.tzset()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore[union-attr]
    memory.tell(order.env.get(MARK), f"{order.module}\0{order.name}")
    return order.module


class _Memory:
    """The part of this process's memory that ``/proc`` shows as its command line and its environment."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            stat = file.read()
        fields = stat[stat.rindex(b")") + 2 :].split()
        first, last, variables, end = map(int, fields[45:49])  # counted from the state, the third field
        self._last = last
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(first)
            words = memory.read(last - first).split(b"\0")
            memory.seek(variables)
            found = (b"\0" + memory.read(end - variables)).find(f"\0{MARK}=".encode())
        self._mark = variables + found + len(MARK) + 1 if found >= 0 else 0
        # The interpreter and the file that it runs stay.
        flags = 1 + next(i for i, word in enumerate(words) if word.endswith(b".py"))
        self._words = first + sum(len(word) + 1 for word in words[:flags])

    @property
    def has_mark(self) -> bool:
        """Whether there is a mark to write over, and whether it can be written."""
        return bool(self._mark) and self.tell(None, "")

    def tell(self, mark: str | None, words: str) -> bool:
        """Write a mark and words. Returns whether that was possible."""
        try:
            with open("/proc/self/mem", "r+b", buffering=0) as memory:
                if mark is not None and self._mark:
                    memory.seek(self._mark)
                    memory.write(mark.encode()[: len(NO_MARK)])
                if words:
                    room = self._last - self._words
                    memory.seek(self._words)
                    memory.write(words.encode(errors="replace")[: room - 1].ljust(room, b"\0"))
        except OSError:
            return False
        return True
