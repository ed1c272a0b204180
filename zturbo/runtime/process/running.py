"""The note of the tasks that a worker runs, in memory that it shares with its node.

The worker writes a serial number and the path of each task before it runs the task. So the node knows what
ran when the worker died. It also knows for how long a task has run: a task whose serial number the node finds
at two looks has run from the first look to the second. The memory begins with a head, for one task or one
batch. Behind the head is a table, for workers that run many tasks at a time: there each task has an entry.

A task that has ended stays there, marked as ended, until the next one begins. A worker that dies between two
tasks may have died of the last one: of something that the task had started, or of its outputs.
"""

from __future__ import annotations

import mmap
import os
import struct
from time import monotonic
from typing import NamedTuple

import msgpack

from zturbo.wire.messages import Path

__all__ = ["GIVEN", "SERIAL", "Running", "RunningNote"]

HEAD_SIZE = 1 << 16
"""Bytes of the head."""

ENTRY_SIZE = 256
ENTRIES = 4096
"""Seats of the table; a task beyond them is not noted."""

SIZE = HEAD_SIZE + ENTRY_SIZE * ENTRIES
"""Bytes in all. The kernel gives memory only for the pages that are written."""

ENDED = 1 << 63
"""The bit of a serial number that marks its task as ended."""

_TASK = struct.Struct("<QQQd")
"""Serial number, last component of the path, outputs, when it began. In a run of siblings the second is the
last component without the serial number, so it is the same for all of them."""
SERIAL, GIVEN, _SINCE = 0, 2, 3
"""Which item is which."""
_NUMBERS = 1 << 64
"""How many values a number has."""
_NUMBER = struct.Struct("<Q")
_HEAD = struct.Struct("<BxH12x16sQ")
_HEAD_AT = _TASK.size
_PREFIX_AT = _HEAD_AT + _HEAD.size
_ENTRY = struct.Struct("<QQQ16sHd")
"""Serial number, outputs, epoch, job, length of the path, when it began."""
_ENTRY_DEPTH = (ENTRY_SIZE - _ENTRY.size) // 8


class Running(NamedTuple):
    """A task that runs, or ran last."""

    serial: int
    job: bytes
    epoch: int
    path: Path
    given: int
    """How many outputs it has given."""
    beside: bool = False
    """Whether it is from the table, where each task begins and ends by itself."""
    since: float = 0.0
    """When it began, by ``time.monotonic()`` of this host; of a batch, when the batch began. Of many siblings
    it is known to about 0.1 s."""


class RunningNote:
    """The note of one worker, in shared memory.

    Args:
        fd: descriptor of the shared memory; it is closed here.
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        os.close(fd)
        self._task = memoryview(self._map)[: _TASK.size]
        self.numbers = self._task.cast("Q")
        """What is noted of the task that runs, for code that notes a million of them. See :meth:`run`."""
        self._times = self._task.cast("d")
        self._seen = 0
        self._serial = 0
        self._seats = 0

    @staticmethod
    def make() -> int:
        """A new piece of memory, as a file descriptor that a child may inherit."""
        fd = os.memfd_create("zturbo-running", os.MFD_CLOEXEC)
        os.ftruncate(fd, SIZE)
        return fd

    def begin(self, job: bytes, epoch: int, prefix: Path, root: bool) -> None:
        """Tasks with paths ``prefix + (k,)`` are going to run; if ``root``, the task with the path ``()``.

        Each is noted by :meth:`task`.
        """
        self._begin(0 if root else 1, job, epoch, prefix, 0, 0.0)

    def _begin(self, kind: int, job: bytes, epoch: int, prefix: Path, number: int, since: float) -> None:
        _TASK.pack_into(self._map, 0, 0, number, 0, since)
        struct.pack_into(f"<{len(prefix)}Q", self._map, _PREFIX_AT, *prefix)
        _HEAD.pack_into(self._map, _HEAD_AT, kind, len(prefix), job, epoch)

    def run(self, job: bytes, epoch: int, first: Path, n: int) -> int:
        """So many siblings are going to run, one after another. The first of them has this path.

        Each is then noted by an assignment, which takes less time than a call does: of ``numbers[SERIAL]``.
        Before that, ``numbers[GIVEN]`` is to be 0: see :meth:`task`. When a task began is known from
        :meth:`seen`.

        Returns:
            the serial number of the first. The others' follow it.
        """
        begun = self._serial + 1
        self._serial += n
        kind, number = (4, (first[-1] - begun) % _NUMBERS) if first else (0, 0)
        self._begin(kind, job, epoch, first[:-1], number, monotonic())
        return begun

    def seen(self, now: float) -> None:
        """Another thread of the worker looks: one of many siblings that it sees for the first time has begun
        about now. Thread-safe."""
        serial = self.numbers[SERIAL]
        if self._seen != serial:
            self._seen = serial
            if self._map[_HEAD_AT] == 4:
                self._times[_SINCE] = now

    def several(self, job: bytes, epoch: int, paths: list[Path]) -> None:
        """All of these run now, as one batch. As many are named as the head has room for."""
        if self._name(job, epoch, paths):
            self.task(0)

    def nearest(self, job: bytes, epoch: int, paths: list[Path]) -> None:
        """None of these runs yet, but a death of the worker now counts against them."""
        if self._name(job, epoch, paths):
            self._serial += 1
            _TASK.pack_into(self._map, 0, self._serial | ENDED, 0, 0, 0.0)

    def _name(self, job: bytes, epoch: int, paths: list[Path]) -> bool:
        """Name these tasks, without noting that they run. Returns whether there are any."""
        _TASK.pack_into(self._map, 0, 0, 0, 0, 0.0)
        if not paths:
            return False
        packed = msgpack.packb(paths)
        while len(packed) > HEAD_SIZE - _PREFIX_AT:
            paths = paths[: len(paths) // 2]
            packed = msgpack.packb(paths)
        self._map[_PREFIX_AT : _PREFIX_AT + len(packed)] = packed
        _HEAD.pack_into(self._map, _HEAD_AT, 2, len(packed), job, epoch)
        return True

    def task(self, k: int) -> None:
        """The task number ``k`` runs now. Its outputs are to be counted in ``numbers[GIVEN]``, from 0 on."""
        self._serial = serial = self._serial + 1
        _TASK.pack_into(self._map, 0, serial, k, 0, monotonic())

    def end(self) -> None:
        """No task runs. The last one stays noted as the last."""
        self._end_at(0)

    def enter(self, seat: int, job: bytes, epoch: int, path: Path) -> None:
        """This task runs now, at this seat of the table."""
        if seat >= ENTRIES or len(path) > _ENTRY_DEPTH:
            return
        if seat >= self._seats:
            self._seats = seat + 1
            _HEAD.pack_into(self._map, _HEAD_AT, 3, 0, b"", self._seats)
        at = HEAD_SIZE + ENTRY_SIZE * seat
        self._serial += 1
        struct.pack_into(f"<{len(path)}Q", self._map, at + _ENTRY.size, *path)
        _ENTRY.pack_into(self._map, at, 0, 0, epoch, job, len(path), monotonic())
        _NUMBER.pack_into(self._map, at, self._serial)

    def gave(self, seat: int, count: int) -> None:
        """The task at this seat has given so many outputs."""
        if seat < ENTRIES:
            _NUMBER.pack_into(self._map, HEAD_SIZE + ENTRY_SIZE * seat + 8, count)

    def leave(self, seat: int) -> None:
        """No task runs at this seat. The last one stays noted as the last."""
        if seat < self._seats:
            self._end_at(HEAD_SIZE + ENTRY_SIZE * seat)

    def _end_at(self, at: int) -> None:
        (serial,) = _NUMBER.unpack_from(self._map, at)
        if serial:
            _NUMBER.pack_into(self._map, at, serial | ENDED)

    def read(self) -> list[Running]:
        """The tasks that run, or ran when the worker died, without entries that are just being written."""
        return [running for running in self._noted() if running.serial < ENDED]

    def last(self) -> list[Running]:
        """The task that ended last, or all tasks of its batch. Empty while a task runs."""
        noted = self._noted()
        newest = max((running.serial for running in noted), default=0)
        if any(running.serial < ENDED for running in noted):
            return []
        return [running for running in noted if running.serial == newest]

    def _noted(self) -> list[Running]:
        try:
            return self._read_all()
        except Exception:  # native code of the stage may have written into this memory
            return []

    def _read_all(self) -> list[Running]:
        numbered, _, _, seats = _HEAD.unpack_from(self._map, _HEAD_AT)
        if numbered == 3:
            found = (self._read_entry(seat) for seat in range(min(seats, ENTRIES)))
            return [running for running in found if running is not None]
        return self._read_head()

    def _read_entry(self, seat: int) -> Running | None:
        at = HEAD_SIZE + ENTRY_SIZE * seat
        serial, given, epoch, job, depth, since = _ENTRY.unpack_from(self._map, at)
        if not serial or depth > _ENTRY_DEPTH:
            return None
        path = struct.unpack_from(f"<{depth}Q", self._map, at + _ENTRY.size)
        if _NUMBER.unpack_from(self._map, at)[0] != serial:
            return None
        return Running(serial, job, epoch, path, given, True, since)

    def _read_head(self) -> list[Running]:
        serial, last, given, since = _TASK.unpack_from(self._map, 0)
        numbered, depth, job, epoch = _HEAD.unpack_from(self._map, _HEAD_AT)
        if not serial or depth * (1 if numbered == 2 else 8) > HEAD_SIZE - _PREFIX_AT:
            return []
        if numbered == 2:
            return self._read_several(Running(serial, job, epoch, (), given, since=since), depth)
        prefix = struct.unpack_from(f"<{depth}Q", self._map, _PREFIX_AT)
        if numbered == 4:
            last = (last + (serial & ~ENDED)) % _NUMBERS
        if _TASK.unpack_from(self._map, 0)[0] != serial:
            return []
        return [Running(serial, job, epoch, (*prefix, last) if numbered else (), given, since=since)]

    def _read_several(self, one: Running, size: int) -> list[Running]:
        packed = self._map[_PREFIX_AT : _PREFIX_AT + size]
        if _TASK.unpack_from(self._map, 0)[0] != one.serial:
            return []
        return [one._replace(path=tuple(path)) for path in msgpack.unpackb(packed)]

    def close(self) -> None:
        """Let go of the memory."""
        for view in (self.numbers, self._times, self._task):
            view.release()
        self._map.close()
