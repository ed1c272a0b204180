"""What a sink has of one job: its sequencer, where its results lie, who reads them and how far."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple

from zturbo.core.order.by_meta import ByMeta
from zturbo.core.order.by_root import ByRoot
from zturbo.core.order.sequencer import Sequencer
from zturbo.core.sink.taken import TakenRoots
from zturbo.core.states import State, Table
from zturbo.errors import DecodeError
from zturbo.slotted import field, slotted
from zturbo.wire.carried import MAX_CARRIED
from zturbo.wire.messages import (
    NOTHING_TAKEN,
    PUSHED_BYTES,
    PUSHED_RESULTS,
    Batch,
    Path,
    Stamp,
    Taken,
    meta_key,
)
from zturbo.wire.payload import failure_text

__all__ = [
    "JOB",
    "JobReader",
    "KnownFailure",
    "Origin",
    "OriginOf",
    "ResultIndex",
    "RootEnds",
    "SinkJob",
    "SinkJobState",
]

Origin = tuple[int, Path, int]
"""Where a failure began: (stage, path, children before it)."""

OriginOf = Callable[[bytes], Origin | None]
"""Reads a failure's origin from its error as it travels; None if it has none."""


PUSHED_ROOTS = 1024
"""Results of jobs that travel together which their client gets unasked: as the jobs end, and not at the end
of all."""


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
        (
            CONFIRMED,
            COLLECTING,
            "a higher epoch, from a broker that has lost the end; some of it comes again",
        ),
        (CONFIRMED, COMPLETE, "a higher epoch, from a broker that has lost the end: it is told again"),
    ],
)


class KnownFailure(NamedTuple):
    """A failed result. A failure that a worker has sent lies in the spool, since it may have its task's input
    with it; the sink makes others itself."""

    token: int
    """Of the batch that has it; 0 for a failure that the sink has made."""
    nth: int
    """Which of the batch's failures."""
    origin: Origin | None
    """Where it began, if the job may have to start over."""
    error: bytes = b""
    """Of a failure that the sink has made."""


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

    def failed_before(self, index: int) -> int:
        """How many of the results below this index are failures."""
        return bisect_left(list(self.errors), index)

    def between(
        self, first: int, stop: int
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]], list[tuple[int, bytes]]]:
        """Where these results lie.

        Returns:
            (token, start, stop) of tasks; (index, token, nth) of failures in the spool; (index, error) of
            failures of the sink's own.
        """
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


class RootEnds:
    """Where the results of each root end, for order ``roots``: 16 bytes for each root that has ended."""

    __slots__ = ("_numbers", "_roots", "_stops")

    def __init__(self) -> None:
        self._roots = array("q")
        self._stops = array("q")
        self._numbers: list[tuple[int, int, int]] = []
        """(root, results, failed tasks) of the first ends, as many as jobs may travel together."""

    def __len__(self) -> int:
        return len(self._roots)

    def add(self, root: int, stop: int, failed: int) -> None:
        """This root's results end before index ``stop``, and so many of them are failures."""
        if len(self._roots) < MAX_CARRIED:
            n = stop - (self._stops[-1] if self._stops else 0)
            self._numbers.append((root, n - failed, failed))
        self._roots.append(root)
        self._stops.append(stop)

    def where(self, root: int) -> tuple[int, int] | None:
        """Indexes of a root's results, half open; None if it has not ended."""
        if root not in self._roots:
            return None
        at = self._roots.index(root)
        return (self._stops[at - 1] if at else 0), self._stops[at]

    def at(self, index: int) -> int:
        """Number of the first end that is not before this index."""
        return bisect_left(self._stops, index)

    def until(self, index: int) -> int:
        """How many ends there are up to and with this index."""
        return bisect_right(self._stops, index)

    def numbers(self, index: int) -> tuple[tuple[int, int, int], ...]:
        """(root, results, failed tasks) of each root that ends up to and with this index: what the broker is
        told of jobs that travel together. Empty for a job with more roots than those have."""
        if len(self._roots) > MAX_CARRIED or (self._roots and max(self._roots) >= MAX_CARRIED):
            return ()
        return tuple(self._numbers[: self.until(index)])

    def pairs(self, first: int, stop: int) -> tuple[tuple[int, int], ...]:
        """(root, index after its last result) of the ends with these numbers."""
        return tuple(zip(self._roots[first:stop], self._stops[first:stop], strict=True))


@slotted
class JobReader:
    """The client that reads a job."""

    client: bytes
    token: int
    next: int
    limit: int
    told_total: bool = False
    unasked: bool = False
    """Whether it has not asked yet. If the job is small, it gets all results once they are here."""
    ended: int = 0
    """Ends of roots that it was told of, with order ``roots``."""

    def go_to(self, index: int, ends: RootEnds) -> None:
        """Give it the results from this index on."""
        self.next = index
        self.ended = ends.at(index)


@slotted
class SinkJob:
    """One job at its sink."""

    stamp: Stamp
    sequencer: Sequencer | ByRoot
    roots: TakenRoots | None = None
    """If roots may go as their results are taken: those of which that is so."""
    by_meta: ByMeta | None = None
    """If a key in their meta orders the results: those that the sequencer has released, until their turn."""
    results: ResultIndex = field(default_factory=ResultIndex)
    ends: RootEnds = field(default_factory=RootEnds)
    state: SinkJobState = COLLECTING
    story: list[str] = field(default_factory=list)
    """Its last moves from one state to another."""
    report_at: float = -math.inf
    """When the broker is told, or told again, how the job ended."""
    cursor: int = 0
    """Number of results that clients have said they have: the first so many."""
    once: bool = False
    """Whether a reader lets results go when they are taken."""
    begun: Taken = NOTHING_TAKEN
    """Roots and results before those that have come here: a sink that was lost had them."""
    trim_at: float = -math.inf
    """When the broker may next be told of roots that may go."""
    freed: int = 0
    """Number of results that nobody needs any more: the first so many."""
    gone: int = 0
    """Number of results of which some are not here any more: the first so many."""
    reader: JobReader | None = None
    viewers: dict[bytes, JobReader] = field(default_factory=dict)
    """Those who read beside the reader, and change nothing."""
    stored_bytes: int = 0
    """Of all of its batches."""
    noted: tuple[float, int] = (0.0, 0)
    """When the cursor was last noted in the spool, and where it was."""
    pause_at: float = -math.inf
    """When the broker may next be asked to pause its sources."""
    unsafe: set[int] = field(default_factory=set)
    """Tokens of batches that are not safe and have entered all the same, because the job started over."""
    shown: int = 0
    """Results that may be given out while there are such batches."""
    failure: str | None = None
    """Its first failure, in a sentence, if that is to end the job (``fail_fast``)."""

    @classmethod
    def of(cls, stamp: Stamp, host: str) -> SinkJob:
        """A job that is stamped for a sink on this host."""
        key = meta_key(stamp.order)
        by_meta = None if key is None else ByMeta(key, host)
        job = cls(stamp, _sequencer(stamp.order), by_meta=by_meta)
        if stamp.trims:
            job.roots = TakenRoots(stamp.taken)
        if stamp.taken.roots and isinstance(job.sequencer, Sequencer):
            job.sequencer.begin_at(stamp.taken.roots)
            job.begun = stamp.taken
            job.results.count = job.cursor = job.freed = job.gone = stamp.taken.results
        if stamp.reader:
            pushed = PUSHED_ROOTS if stamp.order == "roots" else PUSHED_RESULTS
            job.reader = JobReader(stamp.reader, stamp.token, 0, pushed, unasked=True)
        return job

    def move(self, state: SinkJobState) -> None:
        """It has another state."""
        self.state = JOB.move(self.state, state, self.story, f"epoch {self.stamp.epoch}")

    # -- in and out ---------------------------------------------------------------------------
    def enter(self, token: int, batch: Batch, origin_of: OriginOf, now: float) -> bool:
        """Its sequencer takes all of a stored batch, and releases what is in order.

        Returns:
            False if an item makes no sense: no correct sender sends one. What came before it has entered.
        """
        self.stored_bytes += batch.nbytes
        sound = True
        try:
            self._enter(token, batch, origin_of, now)
        except DecodeError:
            sound = False
        self.release()
        if self.sequencer.complete and not self.complete:
            self.move(COMPLETE)
            self.report_at = now
        return sound

    def _enter(self, token: int, batch: Batch, origin_of: OriginOf, now: float) -> None:
        sequencer = self.sequencer
        item: Any = token if self.by_meta is None else self.by_meta.keyed(token, batch)
        offset = 0
        for first, n in batch.runs:
            sequencer.enter_run(first, n, item, offset)
            offset += n
        for end in batch.ends:
            sequencer.enter_end(end.path, end.count, None)
        for nth, fail in enumerate(batch.fails):
            origin = origin_of(fail.error) if self.stamp.ordered else None
            new = sequencer.enter_fail(fail.path, fail.count, KnownFailure(token, nth, origin))
            if new and self.stamp.fail_fast and self.failure is None:
                self.failure = failure_text(fail.error)
                self.report_at = now

    def release(self) -> None:
        """Give an index to the results whose turn has come and which the stamp does not hold back."""
        hold = self.stamp.hold
        if hold in ("all", "success") and not self.sequencer.complete:
            return
        if hold == "success" and self.sequencer.failures():
            return
        if isinstance(self.sequencer, ByRoot):
            self._release_roots(self.sequencer)
            return
        while pieces := self.sequencer.pop(1 << 16, before_failure=hold == "failures"):
            for piece in pieces:
                if self.roots is not None:
                    self.roots.released(self.results.count, piece.path, piece.n)
                if self.by_meta is not None:
                    for token, offset in self.by_meta.released(piece):
                        self.results.add(1, token, offset)
                elif piece.kind == "fail":
                    self.results.fail(piece.item)
                else:
                    self.results.add(piece.n, piece.item, piece.offset)
        if self.by_meta and self.sequencer.finished:
            self._flush(self.by_meta)

    def _release_roots(self, by_root: ByRoot) -> None:
        for root, pieces in by_root.take(failed=self.stamp.hold != "failures"):
            failed = len(self.results.errors)
            for piece in pieces:
                if piece.kind == "fail":
                    self.results.fail(piece.item)
                else:
                    self.results.add(piece.n, piece.item, piece.offset)
            self.ends.add(root, self.results.count, len(self.results.errors) - failed)

    def _flush(self, by_meta: ByMeta) -> None:
        """Release the rest, since all is here: first failures, whose keys are not known, then tasks that wait
        behind gaps in the keys."""
        failures, ready = by_meta.flush()
        for failure in failures:
            if not isinstance(failure, KnownFailure):
                if self.stamp.fail_fast and self.failure is None:
                    self.failure = failure_text(failure)
                failure = KnownFailure(0, 0, None, failure)
            self.results.fail(failure)
        for token, offset in ready:
            self.results.add(1, token, offset)

    def start_over(self, stamp: Stamp) -> None:
        """Begin a higher epoch: keep the results that clients may have, and forget the others if they come
        again."""
        if self.stamp.hold == "success" and not self.released:  # another run gives others in their place
            self.sequencer = _sequencer(stamp.order)
            if self.complete:
                self.move(COLLECTING)
        elif self.stamp.hold in ("failures", "success") or (stamp.ordered and not self.complete):
            self.sequencer.keep_prefix()
            if self.complete and not self.sequencer.complete:
                self.move(COLLECTING)
        if self.confirmed:
            self.move(COMPLETE)
            self.report_at = -math.inf
        self.stamp = stamp
        if stamp.fail_fast and self.failure is None:
            own = next((failure.error for failure in self.results.errors.values() if failure.error), None)
            if own is not None:  # no retry mends it, as it is in the order: it does not come again
                self.failure = failure_text(own)
                self.report_at = -math.inf

    def between(
        self, first: int, stop: int
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]], list[tuple[int, bytes]]]:
        """Where these results lie: as :meth:`ResultIndex.between`."""
        return self.results.between(first, stop)

    def take(self, index: int) -> None:
        """A client has all results below this index."""
        self.cursor = max(self.cursor, min(index, self.released))

    def free(self, index: int) -> list[tuple[int, int, int]]:
        """Nobody needs the results below this index any more. Returns (token, start, stop) of those that were
        needed until now, without failures."""
        before, self.freed = self.freed, max(self.freed, index)
        return self.results.between(before, self.freed)[0]

    def let_go(self) -> list[tuple[int, int, int]]:
        """(token, start, stop) of all results that nobody needs any more, without failures."""
        return self.results.between(self.begun.results, self.freed)[0]

    def trim(self) -> Taken | None:
        """The roots that are needed no more, if these are more than :meth:`trim` has told before."""
        if self.roots is None or self.freed <= self.roots.taken.results:
            return None
        roots, results = self.roots.take(self.freed)
        if roots <= self.roots.taken.roots:
            return None
        failed = self.begun.failed + self.results.failed_before(results)
        self.roots.taken = Taken(roots, results, failed)
        return self.roots.taken

    # -- where it stands ----------------------------------------------------------------------
    @property
    def id(self) -> bytes:
        """Its id."""
        return self.stamp.job

    @property
    def complete(self) -> bool:
        """Whether all of it has entered."""
        return self.state is not COLLECTING

    @property
    def confirmed(self) -> bool:
        """Whether the broker has confirmed that the job is complete."""
        return self.state is CONFIRMED

    @property
    def unconfirmed(self) -> bool:
        """Whether the job is complete and the broker has not confirmed it."""
        return self.state is COMPLETE

    @property
    def blame(self) -> tuple[str, str] | None:
        """Why the broker is to end the job: the kind of the error, and its text."""
        if self.sequencer.nondeterministic:
            return "NondeterministicStage", self.sequencer.nondeterministic
        return None if self.failure is None else ("JobFailed", self.failure)

    @property
    def released(self) -> int:
        """Results that have an index."""
        return self.results.count

    @property
    def good(self) -> int:
        """Results with an index that are no failures."""
        return self.released - self.begun.failed - len(self.results.errors)

    @property
    def servable(self) -> int:
        """Results that may be given out."""
        return self.shown if self.unsafe else self.released

    @property
    def failed(self) -> int:
        """Failures with an index, and failures that are kept back."""
        waiting = len(self.by_meta.failures) if self.by_meta else 0
        held = self.sequencer.failures() if self.stamp.hold else 0
        return self.begun.failed + len(self.results.errors) + waiting + held

    @property
    def over(self) -> bool:
        """Whether it is complete, nothing of it is kept back, and it is not about to be ended."""
        kept_back = self.sequencer.buffered or self.by_meta or self.unsafe
        if self.stamp.hold in ("failures", "success") and self.failed:  # the broker is going to start it over
            return False
        return self.complete and not kept_back and self.failure is None

    @property
    def small(self) -> bool:
        """Whether all of its results are here, and its reader gets them unasked."""
        return self.over and self.released <= PUSHED_RESULTS and self.stored_bytes <= PUSHED_BYTES

    @property
    def unread(self) -> int:
        """About how many bytes of its results no client has taken."""
        return self.stored_bytes * (self.released - self.cursor) // max(1, self.released)

    @property
    def spooled(self) -> int:
        """About how many bytes of the spool its results take, those that wait for their order included."""
        stored = self.released + self.sequencer.buffered
        return self.stored_bytes * (stored - self.freed) // max(1, stored)


def _sequencer(order: str) -> Sequencer | ByRoot:
    """A new sequencer of a job with this order of results."""
    return ByRoot() if order == "roots" else Sequencer(ordered=order != "none")
