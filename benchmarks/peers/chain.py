"""The chain to compare with: hand-written PUSH and PULL sockets, one message per task, no guarantees.

Source and sink are the client. Of a stage with many workers, each is joined to the client by itself.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import msgpack
import numpy as np
import zmq

from benchmarks import hosts
from benchmarks.ordering import in_order
from benchmarks.peer import CannotDo, Flow, Peer
from benchmarks.steps import MANY, STEPS

__all__ = ["Here", "stage"]

FEW = 8
"""High-water mark of each socket where contents are large."""
PORT = 5600
"""TCP port of the first stage, where some stages run in another network namespace."""


class _Ends:
    """The two sockets of a process, and how a numbered content goes through them."""

    def __init__(self, pull: str, push: str, *, large: bool, bind: tuple[bool, bool]) -> None:
        self._context = zmq.Context()
        self._large = large
        self._pull, self._push = self._context.socket(zmq.PULL), self._context.socket(zmq.PUSH)
        for socket, address, binds in ((self._pull, pull, bind[0]), (self._push, push, bind[1])):
            if large:
                socket.set_hwm(FEW)
            (socket.bind if binds else socket.connect)(address)
        self.send = self._send_large if large else self._send_small
        self.receive = self._receive_large if large else self._receive_small

    def _send_small(self, number: int, content: Any) -> None:
        self._push.send(msgpack.packb([number, content]))

    def _receive_small(self) -> Any:
        return msgpack.unpackb(self._pull.recv())

    def _send_large(self, number: int, content: Any) -> None:
        if isinstance(content, np.ndarray):
            self._push.send(msgpack.packb([number, content.shape]), zmq.SNDMORE)
            frame: Any = content
            self._push.send(frame, copy=False)
        else:
            self._push.send(msgpack.packb([number, None]), zmq.SNDMORE)
            self._push.send(msgpack.packb(content))

    def _receive_large(self) -> Any:
        number, shape = msgpack.unpackb(self._pull.recv())
        frame = self._pull.recv(copy=False)
        if shape is None:
            return number, msgpack.unpackb(frame.buffer)
        return number, np.frombuffer(frame.buffer, np.uint8).reshape(shape)

    def close(self) -> None:
        """Close both sockets, with all that is in them."""
        self._context.destroy(linger=0)


def stage(step: str, pull: str, push: str, large: bool, alone: bool) -> None:
    """Run a stage in this process, until the process is ended."""
    ends = _Ends(pull, push, large=large, bind=(alone, False))
    run, send, receive = STEPS[step], ends.send, ends.receive
    if not alone:
        send(-1, None)
    if step in MANY:
        while True:
            _, content = receive()
            for number, child in enumerate(run(content)):
                send(number, child)
    while True:
        number, content = receive()
        send(number, run(content))


class Here(Peer):
    """The client of a chain."""

    _ends: _Ends | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, flow: Flow) -> None:
        """Start a process for each worker; they and the client wait for one another by themselves."""
        count = len(flow.steps)
        alone = flow.workers == 1
        if not alone and count > 1:
            raise CannotDo("stages of many workers would need a process between any two of them")
        folder = tempfile.mkdtemp(prefix="chain-")
        ends = [f"ipc://{folder}/{i}" for i in range(count + 1)]
        first_away = count - flow.away
        for i in range(first_away, count) if flow.away else ():
            ends[i] = f"tcp://{hosts.ADDRESSES[1]}:{PORT + i}"
            ends[i + 1] = f"tcp://{hosts.ADDRESSES[0]}:{PORT + i + 1}"
        for i, step in enumerate(flow.steps):
            before = hosts.away() if i >= first_away else []
            words = (step, ends[i], ends[i + 1], flow.large, alone)
            code = f"from benchmarks.peers.chain import stage; stage{words}"
            for _ in range(flow.workers):
                self._processes.append(subprocess.Popen([*before, sys.executable, "-c", code]))
        self._ends = _Ends(ends[-1], ends[0], large=flow.large, bind=(True, not alone))
        for _ in range(
            0 if alone else flow.workers
        ):  # a PUSH socket shares tasks out among those that are there
            self._ends.receive()

    def stop(self) -> None:
        """End the processes, which have nothing to tidy up."""
        for process in self._processes:
            process.kill()
            process.wait()
        if self._ends is not None:
            self._ends.close()

    def processes(self) -> dict[str, list[int]]:
        """One for each stage."""
        return {f"stage {i}": [process.pid] for i, process in enumerate(self._processes)}

    def versions(self) -> dict[str, str]:
        """pyzmq's and libzmq's."""
        return {"pyzmq": zmq.__version__, "libzmq": zmq.zmq_version()}

    def one(self, content: Any) -> Any:
        """Send one task and wait for its result."""
        assert self._ends is not None
        self._ends.send(0, content)
        return self._ends.receive()[1]

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """A job of one task is a task."""
        return self.stream(contents, in_flight)

    def stream(self, contents: Iterable[Any], in_flight: int) -> Generator[Any, None, None]:
        """Send tasks while there is room; receive one."""
        assert self._ends is not None
        send, receive = self._ends.send, self._ends.receive

        def numbered() -> Iterator[tuple[int, Any]]:
            sent = got = 0
            for item in enumerate(contents):
                send(*item)
                sent += 1
                if sent - got >= in_flight:
                    yield receive()
                    got += 1
            for _ in range(sent - got):
                yield receive()

        return in_order(numbered())

    def fan_out(self, content: Any, results: int) -> Iterator[Any]:
        """Send one task and receive many."""
        assert self._ends is not None
        self._ends.send(0, content)
        for _ in range(results):
            yield self._ends.receive()[1]

    def from_threads(self, contents: Iterable[Any], threads: int) -> Iterator[Any]:
        """Its sockets are of one thread."""
        raise CannotDo("its sockets are of one thread")
