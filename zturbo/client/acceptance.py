"""The broker's answer to a job that was submitted, as a future."""

from __future__ import annotations

import time
from concurrent.futures import Future, InvalidStateError

from zturbo.wire.control import answers

__all__ = ["Acceptance"]

FRESH = 0.25
"""Seconds for which the broker's answer gives a reader the newest turn. A reader that comes later asks for a
turn of its own, if the sink says that another reader has a newer one."""


class Acceptance(Future[answers.Whereabouts]):
    """The broker's answer: where the job's results will be, once the ledger has the job; or a refusal, as an
    error."""

    def __init__(self) -> None:
        super().__init__()
        self._at: float | None = None
        """When the broker has taken the job."""
        self._given = False
        self.told = False
        """Whether the program has asked for the answer."""
        self._held = ""

    def result(self, timeout: float | None = None) -> answers.Whereabouts:
        """As :meth:`concurrent.futures.Future.result`."""
        try:
            return super().result(timeout)
        finally:
            self.told = self.told or self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As :meth:`concurrent.futures.Future.exception`."""
        try:
            return super().exception(timeout)
        finally:
            self.told = self.told or self.done()

    @classmethod
    def of(cls, at: answers.Whereabouts) -> Acceptance:
        """An answer that is here already."""
        acceptance = cls()
        acceptance.accept(at)
        return acceptance

    def accept(self, at: answers.Whereabouts) -> None:
        """The broker has the job."""
        self._at = time.monotonic()
        try:
            self.set_result(at)
        except InvalidStateError:  # who waited for it has cancelled it
            self.set_running_or_notify_cancel()

    def refuse(self, error: BaseException) -> None:
        """The broker does not take the job, or does not answer."""
        if self.set_running_or_notify_cancel():
            self.set_exception(error)

    def hold(self, why: str) -> None:
        """The broker has no room for the job now, for this reason. It will be submitted again."""
        self._held = why

    @property
    def held(self) -> str:
        """Why the broker has not taken the job yet, as it says; empty if it has, or has not answered."""
        return "" if self.done() else self._held

    def take_turn(self) -> bool:
        """Whether a reader of the results may use the turn in the answer: only the first one may."""
        given, self._given = self._given, True
        return not given

    @property
    def fresh(self) -> bool:
        """Whether the answer has just come, or has not come yet."""
        return self._at is None or time.monotonic() < self._at + FRESH
