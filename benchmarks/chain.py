"""The chain to compare with: hand-written PUSH/PULL, one msgpack message per task, no guarantees.

Source and sink are this process, in between three processes that add one.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import zmq

__all__ = ["Chain", "chain"]

WINDOW = 1024
"""Most tasks in the chain at a time."""


def _stage(source: str, target: str) -> None:
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.bind(source)
    push.connect(target)
    pack, unpack = msgpack.packb, msgpack.unpackb
    while True:
        number, content = unpack(pull.recv())
        if content is None:
            return
        push.send(pack([number, content + 1]))


class Chain:
    """The two ends of a chain."""

    def __init__(self, push: zmq.Socket[bytes], pull: zmq.Socket[bytes]) -> None:
        self._push = push
        self._pull = pull

    def one(self, content: int) -> int:
        """Send one task and wait for its result."""
        self._push.send(msgpack.packb([0, content]))
        answer: int = msgpack.unpackb(self._pull.recv())[1]
        return answer

    def map(self, n: int) -> list[int]:
        """Send n tasks, with at most :data:`WINDOW` of them in the chain at a time."""
        push, pull, pack, unpack = self._push, self._pull, msgpack.packb, msgpack.unpackb
        out: list[int] = []
        sent = 0
        while len(out) < n:
            while sent < n and sent - len(out) < WINDOW:
                push.send(pack([sent, sent]))
                sent += 1
            number, content = unpack(pull.recv())
            assert number == len(out)
            out.append(content)
        return out


@contextmanager
def chain(stages: int = 3) -> Iterator[Chain]:
    """A running chain."""
    with tempfile.TemporaryDirectory(prefix="zt-chain-") as folder:
        ends = [f"ipc://{Path(folder) / str(i)}" for i in range(stages + 1)]
        processes = [
            multiprocessing.get_context("spawn").Process(
                target=_stage, args=(ends[i], ends[i + 1]), daemon=True
            )
            for i in range(stages)
        ]
        for process in processes:
            process.start()
        context = zmq.Context()
        pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        pull.bind(ends[-1])
        push.connect(ends[0])
        both = Chain(push, pull)
        both.one(0)
        try:
            yield both
        finally:
            for process in processes:
                process.terminate()
                process.join()
            push.close(0)
            pull.close(0)
            context.term()
