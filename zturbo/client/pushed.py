"""Results of small jobs that a sink sends as soon as the job is complete, before a reader asks for them.

A job's stamp names the client that has submitted it, and a token for its first reader. The results wait here
until that reader comes. If some of them are missing, because they were lost or dropped, the reader asks the
sink for them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from zturbo.wire.messages import Results

__all__ = ["Pushed"]

MOST_JOBS, MOST_BYTES = 65_536, 64 << 20
"""Jobs whose results are expected, and bytes that wait for readers. Beyond either, the oldest are dropped."""


class _Expected(NamedTuple):
    token: int
    sink: bytes
    arrived: list[tuple[Results, int]]
    """Messages that wait for the reader, each with its number of bytes."""

    @property
    def complete(self) -> bool:
        """Whether all results of the job seem to be here."""
        return bool(self.arrived) and self.arrived[-1][0].total is not None


class Pushed:
    """Results that sinks have sent unasked. Thread-safe: readers take results in their own threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[bytes, _Expected] = OrderedDict()
        self.nbytes = 0
        self.unfinished = 0
        """How many of the jobs have results that have not come."""

    def __len__(self) -> int:
        return len(self._jobs)

    def expect(self, job: bytes, token: int, sink: bytes) -> None:
        """Results of this job may come: the broker has accepted it."""
        with self._lock:
            if (before := self._jobs.pop(job, None)) is not None:
                self._forgotten(before)
            self._jobs[job] = _Expected(token, sink, [])
            self.unfinished += 1
            if len(self._jobs) > MOST_JOBS:
                self._forget_oldest()

    def sink_of(self, job: bytes) -> bytes:
        """The sink from which a job's results are expected; empty if they are not expected."""
        expected = self._jobs.get(job)
        return b"" if expected is None else expected.sink

    def take(self, results: Results, nbytes: int) -> None:
        """Keep results that have come before their reader."""
        with self._lock:
            expected = self._jobs.get(results.job)
            if expected is None or results.token != expected.token or results.problem is not None:
                return
            before = expected.complete
            expected.arrived.append((results, nbytes))
            self.unfinished += before - expected.complete
            self.nbytes += nbytes
            while self.nbytes > MOST_BYTES:
                self._forget_oldest()

    def give(self, job: bytes) -> tuple[int, list[tuple[Results, int]]] | None:
        """For a job's first reader: (token, results with their sizes). None if no results are expected."""
        with self._lock:
            expected = self._jobs.pop(job, None)
            if expected is None:
                return None
            self._forgotten(expected)
            return expected.token, expected.arrived

    def give_all(self, job: bytes) -> tuple[int, list[tuple[Results, int]]] | None:
        """As :meth:`give`, if all results of the job seem to be here."""
        expected = self._jobs.get(job)
        return None if expected is None or not expected.complete else self.give(job)

    def _forget_oldest(self) -> None:
        self._forgotten(self._jobs.popitem(last=False)[1])

    def _forgotten(self, expected: _Expected) -> None:
        for _, nbytes in expected.arrived:
            self.nbytes -= nbytes
        self.unfinished -= not expected.complete
