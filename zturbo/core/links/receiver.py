"""The receiver's half of a link: takes batches in order and says where it stands.

Batches are taken in the order of their numbers; one that is not the next is dropped and the gap
reported, so that the sender probes. What it says is one absolute, repeatable statement. It is due at
once after a greeting, a probe, a gap, or when a good part of the window has come free; acks alone
wait up to :data:`FLUSH` seconds for company.

Tasks that were not started may be given back: each statement says so until a probe tells that the
sender has taken them. Such a probe asks nothing: if each were answered at once, and each answer with
one, it would never end while there is more to give back.

A batch beyond the credit comes from no correct sender, and is dropped; so is one that cannot be read. The
sender's probes make it come again. When the next batch has been of no use for :data:`USELESS_FOR` seconds, it
never will be: its job is ended, or its sender is complained of (``receivers.py``).
"""

from __future__ import annotations

from zturbo.core.links.credit import MAX_WINDOW, Window
from zturbo.core.states import State, Table
from zturbo.wire.messages import Batch, Statement

__all__ = ["FLUSH", "RECEIVER", "USELESS_FOR", "LinkReceiver", "ReceiverState"]

FLUSH = 0.005
"""Seconds that an ack, or what is given back, waits for others."""

USELESS_FOR = 1.0
"""Seconds for which the next batch comes in a form that is of no use, before that is told."""


class ReceiverState(State):
    """Where a link stands for its receiver: in which form the next batch has come, if it has."""

    TAKING = "taking"
    BEYOND = "beyond"
    UNREADABLE = "unreadable"


TAKING, BEYOND, UNREADABLE = ReceiverState

RECEIVER: Table[ReceiverState] = Table(
    "Link, at its receiver",
    {
        TAKING: "the next batch is taken when it comes",
        BEYOND: "the next batch takes more than the credit; its sender is complained of if that lasts",
        UNREADABLE: "the next batch cannot be read; its job is ended if that lasts",
    },
    [
        (TAKING, BEYOND, "the next batch comes, and takes more than the credit"),
        (TAKING, UNREADABLE, "the next batch comes, and cannot be read"),
        (BEYOND, TAKING, "it comes again, and there is credit, or nothing else is here"),
        (UNREADABLE, TAKING, "it comes again whole, or its job has ended and it is skipped"),
        (BEYOND, UNREADABLE, "it comes again, and cannot be read"),
        (UNREADABLE, BEYOND, "it comes again, can be read, and takes more than the credit"),
    ],
)


class LinkReceiver:
    """One link, seen from its receiver.

    Args:
        me: incarnation of the receiver.
        peer: incarnation of the sender.
    """

    __slots__ = (
        "_above",
        "_useless",
        "acked",
        "arrived",
        "due",
        "duplicates",
        "gap",
        "gaps",
        "me",
        "nonce",
        "peer",
        "received",
        "returned",
        "state",
        "story",
        "window",
    )

    def __init__(self, me: bytes, peer: bytes) -> None:
        self.me = me
        self.peer = peer
        self.received = 0
        self.acked = 0
        self._above: set[int] = set()
        self.window = Window()
        self.arrived = 0
        """Tasks in all batches that were taken."""
        self.state = RECEIVER.start
        self.story: list[str] = []
        """Its last moves from one state to another."""
        self._useless: tuple[bytes, int, float] | None = None
        """Job and epoch of the next batch, if it came and was of no use; when it came first or was told."""
        self.nonce = 0
        self.gap = False
        self.returned: dict[int, int] = {}
        """Batch -> index from which on its tasks are given back and not yet known to be taken."""
        self.due: float | None = None
        """When a statement is owed; None if nothing new is to be said."""
        self.duplicates = 0
        """Batches that came again and were dropped."""
        self.gaps = 0
        """Batches that came too early and were dropped."""

    def urge(self, at: float) -> None:
        """A statement is owed by then."""
        if self.due is None or at < self.due:
            self.due = at

    def batch(self, batch: Batch, now: float) -> bool:
        """Whether the batch is the next one, and so taken."""
        number = batch.number
        if number == self.received + 1:
            if self.arrived + batch.size > self.window.limit_tasks and not self._fits_alone(batch):
                self.refuse(batch, BEYOND, now)
                return False
            if self.state is not TAKING:
                self._move(TAKING)
            self.received = number
            self.arrived += batch.size
            return True
        if number <= self.received:
            self.duplicates += 1
            self.urge(now + FLUSH)
        else:
            self.gaps += 1
            self.gap = True
            self.urge(now)
        return False

    def _fits_alone(self, batch: Batch) -> bool:
        """Whether a batch beyond the credit is taken all the same, since nothing else is there.

        A stranger may have told the sender of credit in this receiver's name. What the sender has numbered it
        cannot cut any more; so it goes on, and no more is queued than the largest window.
        """
        return self.arrived <= self.window.left_tasks and batch.size <= MAX_WINDOW

    def refuse(self, batch: Batch, state: ReceiverState, now: float) -> None:
        """A batch came in a form that is of no use."""
        if batch.number != self.received + 1:
            return
        if self.state is not state:
            self._move(state)
        if self._useless is None:
            self._useless = (batch.job, batch.epoch, now)

    def hopeless(self, batch: Batch, now: float) -> bool:
        """Whether this is the next batch, and has been of no use for long; said now and then."""
        if self._useless is None or batch.number != self.received + 1:
            return False
        job, epoch, since = self._useless
        if now - since < USELESS_FOR:
            return False
        self._useless = (job, epoch, now)
        return True

    def _move(self, state: ReceiverState) -> None:
        self.state = RECEIVER.move(self.state, state, self.story, f"batch {self.received + 1}")
        if state is TAKING:
            self._useless = None

    @property
    def waits_for(self) -> tuple[bytes, int] | None:
        """Job and epoch of a batch that was of no use and keeps all behind it waiting."""
        return None if self._useless is None else self._useless[:2]

    def skip(self, number: int, now: float) -> None:
        """Nobody waits any more for a batch that cannot be read: go on behind it.

        How much credit it took is not known. It is at most what was left, so all of that comes back.
        """
        if number != self.received + 1:
            return
        window = self.window
        window.leave(
            max(0, window.limit_tasks - self.arrived), max(0, window.limit_bytes - window.left_bytes)
        )
        self.arrived = max(self.arrived, window.limit_tasks)
        if self.state is not TAKING:
            self._move(TAKING)
        self.received = number
        self.ack(number, now)

    def probe(self, nonce: int, taken_back: tuple[int, ...], now: float) -> list[tuple[int, int]]:
        """The sender asks. Returns (batch, index) of the returns that it has taken, each once."""
        self.urge(now if nonce > self.nonce else now + FLUSH)
        self.nonce = max(self.nonce, nonce)
        return [(number, self.returned.pop(number)) for number in taken_back if number in self.returned]

    def give_back(self, number: int, index: int, now: float) -> None:
        """The tasks of this batch from this index on were not started, and are not going to be."""
        self.returned[number] = index
        self.urge(now + FLUSH)

    def ack(self, number: int, now: float) -> None:
        """Everything that came of this batch is safe."""
        if number <= self.acked or number > self.received:
            return
        self.returned.pop(number, None)
        self._above.add(number)
        while self.acked + 1 in self._above:
            self.acked += 1
            self._above.discard(self.acked)
        self.urge(now + FLUSH)

    def statement(self, busy: bool = False) -> Statement:
        """All that there is to say, and whether what comes now is given back. Nothing is owed after it."""
        tasks, nbytes = self.window.tell()
        ranges: list[tuple[int, int]] = []
        for number in sorted(self._above):
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1] = (ranges[-1][0], number)
            else:
                ranges.append((number, number))
        gap, self.gap = self.gap, False
        self.due = None
        return Statement(
            source=self.me,
            target=self.peer,
            received=self.received,
            acked=self.acked,
            ranges=ranges,
            tasks=tasks,
            nbytes=nbytes,
            nonce=self.nonce,
            gap=gap,
            returns=list(self.returned.items()),
            busy=busy,
        )

    def check(self) -> None:
        """Assert every invariant."""
        assert (self.state is TAKING) == (self._useless is None)
        assert self.acked <= self.received
        if self._above:
            assert self.acked < min(self._above) <= max(self._above) <= self.received
