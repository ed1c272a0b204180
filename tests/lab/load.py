"""Jobs that go on until they are told to end; each result is compared, and so is the code that made it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.lab.network import BROKER
from zturbo import Client

__all__ = ["Load"]

AHEAD = 300
"""Roots that are given and have no result yet."""


class Load:
    """One job, in a thread and with a client of its own.

    Args:
        pipeline: ``keep``, where a job keeps its code, or ``anew``, where it may start over with a newer one.
        name: the job's.
    """

    def __init__(self, pipeline: str, name: str) -> None:
        self.pipeline = pipeline
        self.name = name
        self.seen = 0
        self.gaps: list[tuple[float, float]] = []
        """(when, seconds) of each pause of more than a second."""
        self.codes: list[set[int]] = [set(), set()]
        """Versions that gave results, of each stage."""
        self.problem: str | None = None
        self._given = 0
        self._ending = threading.Event()
        self._ahead = threading.Semaphore(AHEAD)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def flows(self, more: int = 50, timeout: float = 120.0) -> None:
        """Wait for so many results more."""
        until = time.monotonic() + timeout
        goal = self.seen + more
        while self.seen < goal and self._thread.is_alive():
            if time.monotonic() > until:
                self.problem = self.problem or f"no results for {timeout:g} s, after {self.seen}"
                return
            self._thread.join(0.05)

    def end(self) -> str | None:
        """Let it end; what is wrong with it, None if nothing is."""
        self._ending.set()
        self._thread.join(timeout=180.0)
        if self._thread.is_alive():
            with Client(BROKER, timeout=10) as client:
                mine = [job for job in client.jobs() if job["name"] == self.name]
            return f"it does not end after {self.seen} of {self._given} results: {mine}"
        return self.problem

    def _roots(self) -> Iterator[int]:
        while not self._ending.is_set():
            if self._ahead.acquire(timeout=0.1):
                self._given += 1
                yield self._given - 1

    def _run(self) -> None:
        try:
            with Client(BROKER, timeout=120) as client:
                self._compare(client.map(self._roots(), pipeline=self.pipeline, name=self.name))
        except Exception as error:  # whatever it is, the job was to end well
            self.problem = f"{type(error).__name__}: {error}"

    def _compare(self, results: Iterator[Any]) -> None:
        last, total = time.monotonic(), 0
        versions = [0, 0]
        for got in results:
            self._ahead.release()
            now = time.monotonic()
            if now - last > 1.0:
                self.gaps.append((last, now - last))
            last = now
            value, *made, total = *got[:3], (total * 31 + self.seen) % 1_000_003
            if value != self.seen or got[3:] != ([total] if self.pipeline == "anew" else []):
                raise AssertionError(f"result {self.seen} is {got}")
            for stage, version in enumerate(made):
                before = versions[stage]
                # What a job gave before it started over stays: its code may only become newer.
                if before and (version < before or (version != before and self.pipeline == "keep")):
                    raise AssertionError(
                        f"result {self.seen} is of code {made}, and those before of {versions}"
                    )
                versions[stage] = version
                self.codes[stage].add(version)
            self.seen += 1
        if self.seen != self._given:
            raise AssertionError(f"{self.seen} results of {self._given} roots")
