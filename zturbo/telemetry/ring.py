"""The records of a trace: what a worker's main thread did in the last minutes.

A record is about a span of time; there are some 50 a second at most. A span of quick work has the sums of it;
a long piece of work, or a long wait, has a record of its own. The memory is a ring: the newest records
replace the oldest.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["PATH", "SIZE", "Record", "Ring", "copy", "read_records"]

RECORDS = 8192
"""Records of a ring."""

PATH = 3
"""Components of a path that are kept: enough to tell tasks apart in most pipelines."""

_HEAD = struct.Struct("<Q")
_RECORD = struct.Struct("<dd4fIBBH16s3Q3QQQQ")
_ENDED = struct.Struct("<d")
_EACH = _RECORD.size
SIZE = 16 + RECORDS * _EACH
"""Bytes of a ring. The kernel gives memory only for what is written."""

_MOST = (1 << 64) - 1

_ZEROS = (0,) * PATH

_SEVERAL = 0x80
"""Flag in a path's length: tasks of other jobs ran in this span, too."""

Path = tuple[int, ...]


class Record(NamedTuple):
    """What a worker did in a span of time."""

    began: float
    """By the clock of its host."""
    ended: float
    code: float
    """Seconds of the span in the stage's code."""
    input: float
    """Seconds in which it waited for input."""
    held: float
    """Seconds in which it was held back by what follows."""
    own: float
    """Seconds of zturbo itself: it unpacks, packs and sends."""
    tasks: int
    """Tasks that it finished in the span."""
    job: bytes
    """The job that ran last; zeros for none."""
    first: Path
    """Path of the first task that began in the span; at most ``PATH`` components."""
    last: Path
    """Path of the last task of the last piece of work."""
    several: bool
    """Whether tasks of other jobs ran, too."""
    taken: int = 0
    """Bytes of the contents of the tasks that began in the span, as they came here, about."""
    given: int = 0
    """Bytes of outputs that were packed in the span."""
    failed: int = 0
    """Tasks of the span that failed, at most 65,535."""
    memory: int = 0
    """Bytes of the process in memory, when they were last looked at; 0 if that is not known."""


class Ring:
    """A ring in memory that another process may read.

    Args:
        memory: :data:`SIZE` writable bytes, zeros at first.
    """

    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self._count = 0

    def add(
        self,
        began: float,
        ended: float,
        code: float,
        waited: float,
        held: float,
        own: float,
        tasks: int,
        job: bytes,
        first: Path,
        last: Path,
        several: bool,
        taken: int = 0,
        given: int = 0,
        failed: int = 0,
        memory: int = 0,
    ) -> None:
        """Write a record: the fields of a :class:`Record`, of which none is made."""
        count = self._count
        _RECORD.pack_into(
            self._memory,
            16 + count % RECORDS * _EACH,
            began,
            ended,
            code,
            waited,
            held,
            own,
            tasks if tasks < 0xFFFFFFFF else 0xFFFFFFFF,
            (len(first) if len(first) < PATH else PATH) | (_SEVERAL if several else 0),
            len(last) if len(last) < PATH else PATH,
            failed if failed < 0xFFFF else 0xFFFF,
            job,
            *(first + _ZEROS)[:PATH],
            *(last + _ZEROS)[:PATH],
            taken if taken < _MOST else _MOST,
            given if given < _MOST else _MOST,
            memory,
        )
        self._count = count + 1
        _HEAD.pack_into(self._memory, 0, count + 1)


def copy(memory: Any, since: float = 0.0) -> bytes:
    """A copy of the records that ended after a time, by the clock of their host; it can be read as a ring.

    What was never written is not looked at: that would cost memory for nothing.
    """
    (count,) = _HEAD.unpack_from(memory, 0)
    number = oldest = max(0, count - RECORDS)
    if since > 0.0:
        number = count
        while number > oldest and _ENDED.unpack_from(memory, _at(number - 1) + 8)[0] > since:
            number -= 1
    begins, ends = _at(number), _at(count)
    if number < count and begins >= ends:
        records = memory[begins:SIZE] + memory[16:ends]
    else:
        records = memory[begins:ends]
    return _HEAD.pack(count - number) + bytes(8) + bytes(records)


def _at(number: int) -> int:
    """Where a record is."""
    return 16 + number % RECORDS * _EACH


def read_records(raw: bytes) -> Iterator[Record]:
    """The records in a copy of a ring, the oldest first. What makes no sense is passed over.

    The process that wrote it may have died amid a record, or its code may have written into the memory.
    """
    if len(raw) < 16:
        return
    (count,) = _HEAD.unpack_from(raw, 0)
    there = min(count, RECORDS, (len(raw) - 16) // _RECORD.size)
    for number in range(count - there, count):
        at = _at(number)
        if at + _RECORD.size > len(raw):
            continue
        fields = _RECORD.unpack_from(raw, at)
        (began, ended, code, waited, held, own, tasks, some, length, failed, job) = fields[:11]
        paths = fields[11:-3]
        several, some = bool(some & _SEVERAL), some & ~_SEVERAL
        spent = (began, ended, code, waited, held, own)
        if not all(map(math.isfinite, spent)) or some > PATH or length > PATH:
            continue
        if not 0.0 < began <= ended or min(spent) < 0.0 or sum(spent[2:]) > 1.01 * (ended - began) + 0.001:
            continue
        first, last = tuple(paths[:some]), tuple(paths[PATH : PATH + length])
        taken, given, memory = fields[-3:]
        told = (taken, given, failed, memory)
        yield Record(began, ended, code, waited, held, own, tasks, job, first, last, several, *told)
