"""What a sink has of one job: where its results lie, who reads them, and how far they have been taken."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from zturbo.core.order.by_meta import ByMeta
from zturbo.core.order.sequencer import Sequencer
from zturbo.core.states import State, Table
from zturbo.wire.messages import Path, Stamp

__all__ = ["JOB", "JobReader", "KnownFailure", "ResultIndex", "SinkJob", "SinkJobState"]


class SinkJobState(State):
    """Where a job stands at its sink."""

    COLLECTING = "collecting"
    COMPLETE = "complete"
    CONFIRMED = "confirmed"


COLLECTING, COMPLETE, CONFIRMED = SinkJobState

JOB: Table[SinkJobState] = Table(
    "Job at the sink",
    {
        COLLECTING: "its batches enter, and its results are given out as the order lets them go",
        COMPLETE: "all of its paths have ended and entered; the broker is told so until it confirms",
        CONFIRMED: "the broker has that in its ledger; the results stay until it lets the job go",
    },
    [
        (COLLECTING, COMPLETE, "the last path has ended and entered"),
        (COMPLETE, CONFIRMED, "the broker confirms it"),
        (
            COMPLETE,
            COLLECTING,
            "a higher epoch, before it was confirmed: what is not in order yet comes again",
        ),
        (CONFIRMED, COLLECTING, "a higher epoch, from a broker that does not know of the end"),
    ],
)


class KnownFailure(NamedTuple):
    """Where a failure lies in the spool: it may have its task's input with it. Or one of the sink's own."""

    token: int
    """0 for one of the sink's own."""
    nth: int
    """Which of the batch's failures."""
    origin: tuple[int, Path, int] | None
    """(stage, path, children before it), if the job may have to start over."""
    error: bytes = b""
    """Of the sink's own."""


class ResultIndex:
    """Where each released result lies: 32 bytes for each run of them.

    A segment is consecutive results that lie consecutively in one stored batch, or one failure.
    """

    __slots__ = ("count", "errors", "firsts", "offsets", "tokens")

    def __init__(self) -> None:
        self.count = 0
        self.firsts = array("q")
        self.tokens = array("q")
        self.offsets = array("q")
        self.errors: dict[int, KnownFailure] = {}
        """Index of a failed result -> where its error lies."""

    def add(self, n: int, token: int, offset: int) -> None:
        """The next n results."""
        if token and self.tokens and self.tokens[-1] == token:
            if self.offsets[-1] + self.count - self.firsts[-1] == offset:
                self.count += n
                return
        self.firsts.append(self.count)
        self.tokens.append(token)
        self.offsets.append(offset)
        self.count += n

    def fail(self, failure: KnownFailure) -> None:
        """The next result is a failure."""
        self.errors[self.count] = failure
        self.add(1, 0, 0)

    def between(
        self, first: int, stop: int
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]], list[tuple[int, bytes]]]:
        """(token, start, stop) of tasks, (index, token, nth) of failures, (index, error) of own ones."""
        pieces: list[tuple[int, int, int]] = []
        fails: list[tuple[int, int, int]] = []
        own: list[tuple[int, bytes]] = []
        at = bisect_right(self.firsts, first) - 1
        while first < stop:
            error = self.errors.get(first)
            end = self.firsts[at + 1] if at + 1 < len(self.firsts) else self.count
            take = min(end, stop) - first
            if error is not None and error.token:
                fails.append((first, error.token, error.nth))
            elif error is not None:
                own.append((first, error.error))
            else:
                start = self.offsets[at] + first - self.firsts[at]
                pieces.append((self.tokens[at], start, start + take))
            first += take
            at += 1
        return pieces, fails, own


@dataclass(slots=True)
class JobReader:
    """The client that reads a job."""

    client: bytes
    token: int
    next: int
    limit: int
    told_total: bool = False


@dataclass(slots=True)
class SinkJob:
    stamp: Stamp
    sequencer: Sequencer
    by_meta: ByMeta | None = None
    """What the sequencer has let go and waits for its turn by a key in its meta, if that is the order."""
    results: ResultIndex = field(default_factory=ResultIndex)
    state: SinkJobState = COLLECTING
    story: list[str] = field(default_factory=list)
    """Its last moves from one state to another."""
    report_at: float = -math.inf
    cursor: int = 0
    """Index of the first result that no client has said it has."""
    reader: JobReader | None = None
    stored_bytes: int = 0
    """Of all of its batches."""
    noted: tuple[float, int] = (0.0, 0)
    """When the cursor was last noted in the spool, and where it was."""
    pause_at: float = -math.inf
    unsafe: set[int] = field(default_factory=set)
    """Tokens of batches that have entered, since the job started over, before they were safe."""
    shown: int = 0
    """Results that may be given out while there are such batches."""
    failure: str | None = None
    """Why the job is to end, if it has fail_fast: its first failure, in a sentence."""

    def move(self, state: SinkJobState) -> None:
        """It has another state."""
        self.state = JOB.move(self.state, state, self.story, f"epoch {self.stamp.epoch}")

    @property
    def complete(self) -> bool:
        """Whether all of it has entered."""
        return self.state is not COLLECTING

    @property
    def confirmed(self) -> bool:
        """Whether the broker knows that."""
        return self.state is CONFIRMED

    @property
    def released(self) -> int:
        """Results that the order has let go."""
        return self.results.count

    @property
    def good(self) -> int:
        """Those of them that are no failures."""
        return self.released - len(self.results.errors)

    @property
    def servable(self) -> int:
        """Results that may be given out."""
        return self.shown if self.unsafe else self.released

    @property
    def failed(self) -> int:
        """Failures among them, and those that are kept back."""
        waiting = len(self.by_meta.failures) if self.by_meta else 0
        return len(self.results.errors) + waiting + (self.sequencer.failures() if self.stamp.hold else 0)

    @property
    def over(self) -> bool:
        """Whether it is complete, nothing of it is kept back, and it is not about to be ended."""
        kept_back = self.sequencer.buffered or self.by_meta or self.unsafe
        return self.complete and not kept_back and self.failure is None

    @property
    def unread(self) -> int:
        """Bytes of its results that no client has taken, about."""
        return self.stored_bytes * (self.released - self.cursor) // max(1, self.released)
