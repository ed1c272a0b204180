"""The sender's half of a link: numbers batches, keeps each until acked, sends within credit.

ZeroMQ loses messages while both ends live: a reconnect drops what was in its pipe or in TCP's
buffers. So nothing here trusts a send. What a statement does not report as received, although a
probe that was sent later has been answered, is lost, and goes again from there (a *resume*; a
batch keeps its number, so what had arrived is dropped as a copy). Silence sends a probe, never data.
What becomes of a lost peer's batches is the owner's business (a *redelivery*): :meth:`abandon`.
"""

from __future__ import annotations

from zturbo.core.effects import Effect, Send
from zturbo.core.parcel import Parcel
from zturbo.wire.messages import Greet, Probe, Statement

__all__ = ["PROBE_AFTER", "LinkSender"]

PROBE_AFTER = 0.25
"""Seconds of silence, while an answer is owed, before the first probe; doubles up to :data:`PROBE_MAX`."""

PROBE_MAX = 1.0
"""Seconds between probes at most."""


class LinkSender:
    """One link, seen from its sender.

    Args:
        me: incarnation of the sender.
        peer: incarnation of the receiver.
        effects: where what is to be done is appended.
    """

    __slots__ = (
        "_delay",
        "_probed",
        "acked",
        "bytes_sent",
        "effects",
        "limit_bytes",
        "limit_tasks",
        "me",
        "next_probe",
        "nonce",
        "open",
        "peer",
        "received",
        "retained",
        "sent",
        "stamped",
        "starved",
        "tasks_sent",
        "view",
    )

    def __init__(self, me: bytes, peer: bytes, effects: list[Effect], now: float, view: int = 0) -> None:
        self.me = me
        self.peer = peer
        self.effects = effects
        self.view = view
        self.open = False
        """Whether the receiver has answered."""
        self.sent = 0
        self.received = 0
        self.acked = 0
        self.tasks_sent = 0
        self.bytes_sent = 0
        self.limit_tasks = 0
        self.limit_bytes = 0
        self.retained: dict[int, Parcel] = {}
        """Number -> parcel, in the order of numbers, until acked."""
        self.stamped: dict[bytes, int] = {}
        """Job -> epoch of the stamp that this link has carried."""
        self.starved = False
        """Whether the owner has something for this link and no credit."""
        self.nonce = 0
        self._probed = 0
        self._delay = PROBE_AFTER
        self.next_probe = now
        self.greet(now)

    @property
    def credit(self) -> int:
        """Tasks that may be sent now."""
        if not self.open or self.bytes_sent >= self.limit_bytes:
            return 0
        return self.limit_tasks - self.tasks_sent

    def greet(self, now: float) -> None:
        """Ask for the link (again)."""
        self.effects.append(Send(self.peer, Greet(self.me, self.peer, self.view)))
        self._postpone(now)

    def _postpone(self, now: float) -> None:
        self.next_probe = now + self._delay
        self._delay = min(PROBE_MAX, 2 * self._delay)

    def send(self, parcel: Parcel, now: float) -> None:
        """Number a parcel, keep it, put it on the way. The owner has looked at :attr:`credit`."""
        if not self._owed():
            self._delay = PROBE_AFTER
            self.next_probe = now + self._delay
        self.sent += 1
        batch = parcel.batch
        batch.number = self.sent
        batch.source = self.me
        batch.target = self.peer
        self.retained[self.sent] = parcel
        self.tasks_sent += parcel.size
        self.bytes_sent += parcel.nbytes
        self.effects.append(Send(self.peer, batch))

    def statement(self, st: Statement, now: float) -> list[Parcel]:
        """The receiver's word. Returns the parcels that it acks for the first time."""
        if st.received > self.sent or st.acked > self.sent or st.nonce > self.nonce:
            return []  # not said of anything that this link has sent
        self.open = True
        self.received = max(self.received, st.received)
        self.limit_tasks = max(self.limit_tasks, st.tasks)
        self.limit_bytes = max(self.limit_bytes, st.nbytes)
        acked = []
        retained = self.retained
        if st.acked > self.acked:
            for number in range(self.acked + 1, st.acked + 1):
                parcel = retained.pop(number, None)
                if parcel is not None:
                    acked.append(parcel)
            self.acked = st.acked
        for first, last in st.ranges:
            for number in range(max(first, self.acked + 1), min(last, self.sent) + 1):
                parcel = retained.pop(number, None)
                if parcel is not None:
                    acked.append(parcel)
        self._delay = PROBE_AFTER
        self.next_probe = now + self._delay
        if st.nonce and st.nonce == self.nonce:
            if self.received < self._probed:
                self._resume()
            self._probed = 0
        elif st.gap and not self._probed:
            self.probe(now)
        return acked

    def _resume(self) -> None:
        for number, parcel in self.retained.items():
            if number > self.received:
                self.effects.append(Send(self.peer, parcel.batch))

    def probe(self, now: float) -> None:
        """Ask what has arrived: after silence, a gap, or a reconnect."""
        self.nonce += 1
        self._probed = self.sent
        self.effects.append(Send(self.peer, Probe(self.me, self.peer, self.nonce)))
        self._postpone(now)

    def _owed(self) -> bool:
        return not self.open or bool(self.retained) or self.starved

    def deadline(self) -> float | None:
        """When a probe is due; None while nothing is owed."""
        return self.next_probe if self._owed() else None

    def tick(self, now: float) -> None:
        """Probe or greet if it is time to."""
        if self._owed() and now >= self.next_probe:
            if self.open:
                self.probe(now)
            else:
                self.greet(now)

    def abandon(self) -> list[Parcel]:
        """The peer is gone: what it had not acked, in order. The link is over."""
        left = list(self.retained.values())
        self.retained.clear()
        return left

    def check(self) -> None:
        """Assert every invariant."""
        assert self.tasks_sent <= max(self.limit_tasks, 0), "sent beyond the credit"
        assert all(self.acked < number <= self.sent for number in self.retained)
        assert list(self.retained) == sorted(self.retained)
