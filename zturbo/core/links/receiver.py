"""The receiver's half of a link: takes batches in order and says where it stands.

Batches are taken in the order of their numbers. A batch that comes too early is dropped, and the gap is
reported, so that the sender probes. A statement is absolute and can be repeated. It is due at once after a
greeting, a new probe or a gap, and when a good part of the window has come free. Acks wait up to
:data:`LINGER` seconds, so that several share a statement; acks of large batches up to :data:`LINGER_LARGE`,
since their senders hold memory for them. Returns, copies and repeated probes are answered within
:data:`FLUSH`.

A receiver may give back tasks that it has not started. Each statement lists them, until a probe confirms that
the sender has taken them back. Such a probe has no new nonce, and is not answered at once. Else probe and
answer would follow one another without a pause, while there is more to give back.

A batch beyond the credit comes from no correct sender, and is dropped. So is a batch that cannot be read. The
sender's probes make it come again. If the next batch cannot be taken for :data:`USELESS_FOR` seconds, it
never will be. Then ``receivers.py`` tells the broker. The broker ends the job of a batch that cannot be read.
A batch beyond the credit counts as a complaint against its sender.
"""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.core.links.credit import MAX_WINDOW, Window
from zturbo.core.states import State, Table
from zturbo.wire.messages import Batch, Statement

__all__ = ["FLUSH", "LINGER", "LINGER_LARGE", "RECEIVER", "USELESS_FOR", "LinkReceiver", "ReceiverState"]

FLUSH = 0.005
"""Seconds that a return waits, or the answer to a copy, so that others can share its statement."""

LINGER = 0.05
"""Seconds that an ack of a small batch waits, so that one task at a time takes few statements."""

LINGER_LARGE = 0.02
"""Seconds that an ack of another batch waits: two frames of a quick stream share a statement."""

SMALL_TASKS, SMALL_BYTES = 64, 64 << 10
"""Tasks and bytes of contents that a small batch has at most."""

USELESS_FOR = 1.0
"""Seconds for which the next batch cannot be taken, before the broker is told."""


class ReceiverState(State):
    """How a link stands for its receiver: whether the next batch has come in a form that cannot be taken."""

    TAKING = "taking"
    BEYOND = "beyond"
    UNREADABLE = "unreadable"


TAKING, BEYOND, UNREADABLE = ReceiverState

RECEIVER: Table[ReceiverState] = Table(
    "Link, at its receiver",
    {
        TAKING: "the next batch is taken when it comes",
        BEYOND: "the next batch takes more than the credit; if that lasts, the broker is told of its sender",
        UNREADABLE: "the next batch cannot be read; if that lasts, the broker is told to end its job",
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
        "_large",
        "_open",
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
        self._open: dict[int, int] = {}
        """Batch with riders -> how many of these and itself are not acked."""
        self._large = 0
        """Number of the last batch that was not small."""
        self.window = Window()
        self.arrived = 0
        """Tasks in all batches that were taken."""
        self.state = RECEIVER.start
        self.story: list[str] = []
        """Its last moves from one state to another."""
        self._useless: tuple[bytes, int, float] | None = None
        """(job, epoch, time) of the next batch while it cannot be taken: when it first came, or was last told
        of."""
        self.nonce = 0
        self.gap = False
        self.returned: dict[tuple[int, int], int] = {}
        """(batch, part) -> index. Its tasks from there on are given back, and the sender has not confirmed
        that."""
        self.due: float | None = None
        """When a statement is owed; None if there is nothing new to say."""
        self.duplicates = 0
        """Batches that came again and were dropped."""
        self.gaps = 0
        """Batches that came too early and were dropped."""

    def urge(self, at: float) -> None:
        """Owe a statement by then."""
        if self.due is None or at < self.due:
            self.due = at

    def batch(self, batch: Batch, now: float) -> bool:
        """Take the batch, if it is the next one and within the credit. Returns whether it is taken."""
        number = batch.number
        if number == self.received + 1:
            size = batch.size + sum([rider.size for rider in batch.riders])
            if self.arrived + size > self.window.limit_tasks and not self._fits_alone(size):
                self.refuse(batch, BEYOND, now)
                return False
            self._take(number, 1 + len(batch.riders))
            self.arrived += size
            if size > SMALL_TASKS or batch.riders or batch.nbytes > SMALL_BYTES:
                self._large = number
            return True
        if number <= self.received:
            self.duplicates += 1
            self.urge(now + FLUSH)
        else:
            self.gaps += 1
            self.gap = True
            self.urge(now)
        return False

    def _take(self, number: int, parts: int) -> None:
        if self.state is not TAKING:
            self._move(TAKING)
        self.received = number
        if parts > 1:
            self._open[number] = parts

    def _fits_alone(self, size: int) -> bool:
        """Whether to take so many tasks beyond the credit, because nothing else of their sender is queued.

        A stranger may have promised the sender more credit in this receiver's name. A sender cannot cut a
        batch that has a number, so a refusal would block the link for ever. The largest window still bounds
        the queue.
        """
        return self.arrived <= self.window.left_tasks and size <= MAX_WINDOW

    def refuse(self, batch: Batch, state: ReceiverState, now: float) -> None:
        """Note why the next batch cannot be taken, and since when."""
        if batch.number != self.received + 1:
            return
        if self.state is not state:
            self._move(state)
        if self._useless is None or self._useless[:2] != (batch.job, batch.epoch):
            self._useless = (batch.job, batch.epoch, now)

    def hopeless(self, batch: Batch, now: float) -> bool:
        """Whether the next batch could not be taken for :data:`USELESS_FOR`; then False for as long again."""
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
        """Job and epoch of the next batch while it cannot be taken: all batches behind it wait."""
        return None if self._useless is None else self._useless[:2]

    def skip(self, claims: Sequence[Batch], riders: Sequence[Batch], now: float) -> bool:
        """Go on behind a batch of which parts cannot be read, since their jobs have ended; take its riders.

        The credit that those parts took is not known. It is at most the credit that was left: all of that
        comes back, but for the credit of the riders. Returns whether it was the next batch.
        """
        number = claims[0].number
        if number != self.received + 1:
            return False
        window = self.window
        tasks = window.limit_tasks - self.arrived - sum(rider.size for rider in riders)
        nbytes = window.limit_bytes - window.left_bytes - sum(rider.nbytes for rider in riders)
        window.leave(max(0, tasks), max(0, nbytes))
        self.arrived = max(self.arrived, window.limit_tasks)
        self._take(number, len(claims) + len(riders))
        for claim in claims:
            self.ack(number, now, claim.sub)
        return True

    def probe(self, nonce: int, taken_back: tuple[tuple[int, int], ...], now: float) -> list[tuple[int, int]]:
        """Take a probe. Returns (batch, part) of the returns that it confirms, each once."""
        self.urge(now if nonce > self.nonce else now + FLUSH)
        self.nonce = max(self.nonce, nonce)
        return [part for part in taken_back if self.returned.pop(part, None) is not None]

    def give_back(self, number: int, sub: int, index: int, now: float) -> None:
        """Give back the tasks of this part of a batch from this index on: they will not be started here."""
        self.returned[number, sub] = index
        self.urge(now + FLUSH)

    def ack(self, number: int, now: float, sub: int = 0) -> None:
        """Ack this part of a batch: everything that came of it is safe. Each part is acked once.

        The batch is acked with the last of its parts.
        """
        if number <= self.acked or number > self.received:
            return
        self.returned.pop((number, sub), None)
        if number in self._open:
            self._open[number] -= 1
            if self._open[number]:
                return
            del self._open[number]
        self._above.add(number)
        while self.acked + 1 in self._above:
            self.acked += 1
            self._above.discard(self.acked)
        self.urge(now + (LINGER_LARGE if number <= self._large else LINGER))

    def statement(self, busy: bool = False, free: bool = False) -> Statement:
        """The present statement; none is owed after it.

        Args:
            busy: tasks that come now are given back.
            free: a task that comes now is begun at once.
        """
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
            returns=[(number, sub, index) for (number, sub), index in self.returned.items()],
            busy=busy,
            free=free,
        )

    def check(self) -> None:
        """Assert every invariant."""
        assert (self.state is TAKING) == (self._useless is None)
        assert self.acked <= self.received
        if self._above:
            assert self.acked < min(self._above) <= max(self._above) <= self.received
        for number, parts in self._open.items():
            assert parts > 0
            assert self.acked < number <= self.received
            assert number not in self._above
