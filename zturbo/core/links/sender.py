"""The sender's half of a link: numbers batches, keeps each until it is acked, sends within credit.

ZeroMQ loses messages while both ends live: a reconnect drops all that is in its pipe or in TCP's buffers. So
a send proves nothing, but the answer to a probe does. A batch that was sent before the probe, and is not in
the answer, is lost. The sender then sends again from there (a *resume*). A batch keeps its number, so the
receiver drops one that it has already. After a silence the sender probes. It never sends data again on
silence alone.

Tasks that the receiver gives back are cut off their outbatch once, however often it says so. The owner of a
link decides what becomes of a lost peer's batches (a *redelivery*): :meth:`LinkSender.abandon`.
"""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.core.effects import Effect, Send
from zturbo.core.links.credit import MAX_WINDOW, WINDOW_BYTES
from zturbo.core.links.outbatch import OutBatch, cut
from zturbo.core.states import State, Table
from zturbo.wire.messages import Greet, Probe, Statement

__all__ = ["PROBE_AFTER", "SENDER", "LinkSender", "SenderState"]

PROBE_AFTER = 0.25
"""Seconds of silence, while an answer is owed, before the first probe; doubles up to :data:`PROBE_MAX`."""

PROBE_MAX = 1.0
"""Seconds between probes at most."""


class SenderState(State):
    """How a link stands for its sender."""

    GREETING = "greeting"
    OPEN = "open"
    PROBING = "probing"
    OVER = "over"


GREETING, OPEN, PROBING, OVER = SenderState

SENDER: Table[SenderState] = Table(
    "Link, at its sender",
    {
        GREETING: "the receiver is asked for the link and has not answered: there is no credit yet",
        OPEN: "batches go as credit allows",
        PROBING: "a probe is out: a batch that was sent before it, and is not in its answer, is lost",
        OVER: "batches that were not acked go to other receivers, or wait for the broker's word",
    },
    [
        (GREETING, OPEN, "the receiver's first statement"),
        (OPEN, PROBING, "an answer is owed and none comes, or the receiver has seen a gap"),
        (PROBING, OPEN, "the probe is answered; lost batches go again"),
        (GREETING, OVER, "a view comes without the receiver"),
        (OPEN, OVER, "a view comes without the receiver"),
        (PROBING, OVER, "a view comes without the receiver"),
    ],
)


class LinkSender:
    """One link, seen from its sender.

    Args:
        me: incarnation of the sender.
        peer: incarnation of the receiver.
        effects: list to which it appends its effects.
        owing: gets the peer when an answer begins to be owed.
    """

    __slots__ = (
        "_delay",
        "_probed",
        "acked",
        "busy",
        "bytes_sent",
        "effects",
        "given_back",
        "heard",
        "limit_bytes",
        "limit_tasks",
        "me",
        "next_probe",
        "nonce",
        "owing",
        "peer",
        "received",
        "resent",
        "retained",
        "sent",
        "stamped",
        "starved",
        "state",
        "story",
        "taken_back",
        "tasks_sent",
        "view",
    )

    def __init__(
        self,
        me: bytes,
        peer: bytes,
        effects: list[Effect],
        now: float,
        view: int = 0,
        owing: set[bytes] | None = None,
    ) -> None:
        self.me = me
        self.peer = peer
        self.effects = effects
        self.view = view
        self.owing: set[bytes] = set() if owing is None else owing
        self.owing.add(peer)
        self.state = SENDER.start
        self.story: list[str] = []
        """Its last moves from one state to another."""
        self.sent = 0
        self.resent = 0
        """Batches that were lost and sent again."""
        self.received = 0
        self.acked = 0
        self.tasks_sent = 0
        self.bytes_sent = 0
        self.limit_tasks = 0
        self.limit_bytes = 0
        self.retained: dict[int, list[OutBatch]] = {}
        """Number -> outbatch and its riders, in the order of numbers, until acked."""
        self.stamped: dict[bytes, tuple[int, int]] = {}
        """Job -> (epoch, revision) of the last stamp that this link has carried."""
        self.taken_back: set[tuple[int, int]] = set()
        """(batch, part) of those whose returned tasks were cut off."""
        self.given_back: list[tuple[OutBatch, OutBatch, OutBatch]] = []
        """(outbatch, its kept part, its returned part), until the owner has taken them."""
        self.heard = now
        """When the receiver last answered, or when the present wait for an answer began."""
        self.starved = False
        """Whether the owner has something to send over this link, which has no credit."""
        self.busy = False
        """Whether the receiver would give back each task that it gets now."""
        self.nonce = 0
        self._probed = 0
        """Number of the last batch that was sent before the latest probe."""
        self._delay = PROBE_AFTER
        self.next_probe = now
        self.greet(now)

    @property
    def credit(self) -> int:
        """Tasks that may be sent now."""
        if self.state is GREETING or self.busy or self.bytes_sent >= self.limit_bytes:
            return 0
        return self.limit_tasks - self.tasks_sent

    @property
    def open(self) -> bool:
        """Whether the receiver has answered, and has not left the view."""
        return self.state is OPEN or self.state is PROBING

    def _move(self, state: SenderState) -> None:
        self.state = SENDER.move(self.state, state, self.story, f"batch {self.sent}")

    def greet(self, now: float) -> None:
        """Ask for the link (again)."""
        self.effects.append(Send(self.peer, Greet(self.me, self.peer, self.view)))
        self._postpone(now)

    def _postpone(self, now: float) -> None:
        self.next_probe = now + self._delay
        self._delay = min(PROBE_MAX, 2 * self._delay)

    def send(self, outbatch: OutBatch, now: float, riders: Sequence[OutBatch] = ()) -> None:
        """Number an outbatch and its riders, keep them, and send them in one message.

        The owner checks :attr:`credit` first.
        """
        self._begin_to_owe(now)
        self._number([outbatch, *riders])
        self.effects.append(Send(self.peer, outbatch.batch))

    def _number(self, parts: list[OutBatch]) -> None:
        """Give these the next number, and keep them until they are acked."""
        self.sent += 1
        self.retained[self.sent] = parts
        for sub, part in enumerate(parts):
            batch = part.batch
            batch.source, batch.target, batch.number, batch.sub = self.me, self.peer, self.sent, sub
            batch.riders = []
            self.tasks_sent += part.size
            self.bytes_sent += part.nbytes
        if len(parts) > 1:
            _join(parts)

    def starve(self, now: float) -> None:
        """Ask for credit, with probes: the statement that gave some may be lost."""
        self._begin_to_owe(now)
        self.starved = True

    def _begin_to_owe(self, now: float) -> None:
        if not self._owed():
            self.owing.add(self.peer)
            self._delay = PROBE_AFTER
            self.next_probe = now + self._delay
            self.heard = now

    def statement(self, st: Statement, now: float) -> list[OutBatch]:
        """Take the receiver's statement. Returns the outbatches that it acks for the first time."""
        if st.received > self.sent or st.acked > self.sent or st.nonce > self.nonce:
            return []  # it tells of batches or probes that this link has not sent
        if self.state is GREETING:
            self._move(OPEN)
        self.heard = now
        self.busy = st.busy
        self.received = max(self.received, st.received)
        self.limit_tasks = max(self.limit_tasks, min(st.tasks, self.tasks_sent + MAX_WINDOW))
        self.limit_bytes = max(self.limit_bytes, min(st.nbytes, self.bytes_sent + WINDOW_BYTES))
        if self.credit > 0:
            self.starved = False
        acked: list[OutBatch] = []
        retained = self.retained
        if st.returns:
            self._take_back(st.returns, now)
        if st.acked > self.acked:
            for number in range(self.acked + 1, st.acked + 1):
                acked += retained.pop(number, ())
            self.acked = st.acked
            if self.taken_back:
                self.taken_back = {part for part in self.taken_back if part[0] > st.acked}
        for first, last in st.ranges:
            for number in range(max(first, self.acked + 1), min(last, self.sent) + 1):
                acked += retained.pop(number, ())
        self._delay = PROBE_AFTER
        self.next_probe = now + self._delay
        if st.nonce and st.nonce == self.nonce:
            if self.state is PROBING:
                self._believe(st)
                if self.received < self._probed:
                    self._resume()
                self._move(OPEN)
        elif st.gap and self.state is not PROBING:
            self.probe(now)
        return acked

    def _believe(self, st: Statement) -> None:
        """Take position and limits from this answer alone, even if an earlier statement had higher ones.

        The answer to a probe is the receiver's latest statement, and its numbers never fall. So higher ones
        came from another process, in the receiver's name.
        """
        self.received = st.received
        self.limit_tasks = max(self.tasks_sent, min(self.limit_tasks, st.tasks))
        self.limit_bytes = max(self.bytes_sent, min(self.limit_bytes, st.nbytes))

    def _take_back(self, returns: list[tuple[int, int, int]], now: float) -> None:
        """Take back tasks that the receiver has not started.

        The receiver may report a return twice. The tasks are taken back once, but each report is confirmed,
        because a confirmation may be lost.
        """
        confirmed = []
        for number, sub, index in returns:
            if number > self.sent:
                continue
            parts = self.retained.get(number, [])
            if sub < len(parts) and (number, sub) not in self.taken_back and index < parts[sub].batch.n:
                outbatch = parts[sub]
                outbatch.batch.riders = []
                kept, rest = cut(outbatch, index)
                parts[sub] = kept
                _join(parts)
                self.given_back.append((outbatch, kept, rest))
                self.taken_back.add((number, sub))
            confirmed.append((number, sub))
        self.effects.append(Send(self.peer, Probe(self.me, self.peer, self.nonce, tuple(confirmed))))

    def silent(self, now: float) -> float:
        """Seconds for which the receiver has owed an answer; 0 if it owes none."""
        return now - self.heard if self._owed() else 0.0

    def adopt(self, outbatches: list[OutBatch], now: float) -> None:
        """Number outbatches that the receiver has already, from an earlier sender, as batches 1 .. n."""
        self.owing.add(self.peer)
        for outbatch in outbatches:
            self._number([outbatch])
        self.received = self.sent
        self.limit_tasks = max(self.limit_tasks, self.tasks_sent)
        self.limit_bytes = max(self.limit_bytes, self.bytes_sent)
        self.greet(now)

    def _resume(self) -> None:
        for number, parts in self.retained.items():
            if number > self.received:
                self.resent += 1
                self.effects.append(Send(self.peer, parts[0].batch))

    def probe(self, now: float) -> None:
        """Ask which batches have arrived: after silence, or a gap."""
        self.nonce += 1
        self._probed = self.sent
        if self.sent and self.state is not PROBING:  # else it asks for credit alone, and nothing can be lost
            self._move(PROBING)
        self.effects.append(Send(self.peer, Probe(self.me, self.peer, self.nonce)))
        self._postpone(now)

    def _owed(self) -> bool:
        return bool(self.retained) or self.starved or self.state is GREETING

    def deadline(self) -> float | None:
        """When a probe is due; None while nothing is owed."""
        return self.next_probe if self._owed() else None

    def tick(self, now: float) -> None:
        """Probe or greet, if that is due."""
        if self._owed() and now >= self.next_probe:
            if self.open:
                self.probe(now)
            else:
                self.greet(now)

    def abandon(self) -> list[OutBatch]:
        """End the link, since the peer is gone. Returns the outbatches that it had not acked, in order."""
        self._move(OVER)
        left = [part for parts in self.retained.values() for part in parts]
        self.retained.clear()
        for part in left:
            part.batch.riders = []
        return left

    def check(self) -> None:
        """Assert every invariant."""
        assert self.tasks_sent <= self.limit_tasks, "sent beyond the credit"
        if self.retained:
            numbers = list(self.retained)
            assert numbers == sorted(numbers)
            for number, parts in self.retained.items():
                first = parts[0].batch
                assert (first.number, first.sub) == (number, 0)
                if len(parts) == 1:
                    assert not first.riders
                    continue
                riders = [part.batch for part in parts[1:]]
                assert [(rider.number, rider.sub) for rider in riders] == [
                    (number, sub) for sub in range(1, len(parts))
                ]
                assert first.riders == riders
            assert self.acked < numbers[0] <= numbers[-1] <= self.sent


def _join(parts: list[OutBatch]) -> None:
    """Let all but the first travel with the first."""
    parts[0].batch.riders = [part.batch for part in parts[1:]]
