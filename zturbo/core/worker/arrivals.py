"""Batches that have come to a worker and are not acked: their custody, their credit, their returns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zturbo.core.effects import Effect
from zturbo.core.links.custody import Custody
from zturbo.core.links.receivers import Receivers
from zturbo.core.worker.held_roots import HeldItem, HeldRoots, InputKey
from zturbo.core.worker.queue import Slice
from zturbo.wire.messages import Batch

__all__ = ["Arrivals", "Returned"]


class Returned(NamedTuple):
    """Tasks ``start .. stop`` of an input, which are given back and not yet taken back by their sender."""

    key: InputKey
    start: int
    stop: int

    @property
    def n(self) -> int:
        """Tasks."""
        return self.stop - self.start


class Arrivals:
    """What a worker owes its senders: acks, credit, and the tasks that it does not start.

    Args:
        me: incarnation of the worker.
        effects: list to which it appends its effects.
    """

    def __init__(self, me: bytes, effects: list[Effect]) -> None:
        self.custody: Custody[InputKey] = Custody()
        self.receivers = Receivers(me, effects)
        self.held = HeldRoots(self.custody)
        self.returned: dict[InputKey, Returned] = {}
        """(sender, batch, part) -> its tasks that are given back; the sender has not confirmed that."""

    def admit(self, batch: Batch, *, root: bool) -> None:
        """Take a batch into custody; ``root``: whether it came from the broker."""
        self.custody.admit(batch.key, batch.n)
        if batch.n and root:
            self.held.note(batch)

    def leave(self, key: InputKey, tasks: int, nbytes: int) -> None:
        """Give the sender of this input back the credit of tasks that have left the queue."""
        self.receivers.leave(self.held.now(key)[0], tasks, nbytes)

    def drop(self, key: InputKey, now: float) -> None:
        """Ack an input at once, even if its outputs are not acked: they are not needed any more."""
        if key in self.custody:
            self.custody.forget(key)
            self._ack(key, now)

    def ack_zeroed(self, now: float) -> None:
        """Ack the inputs whose count has come to zero."""
        zeroed = self.custody.zeroed
        if zeroed:
            for key in zeroed:
                self._ack(key, now)
            zeroed.clear()

    def _ack(self, key: InputKey, now: float) -> None:
        self.receivers.ack(self.held.now(key), now)
        self.returned.pop(self.held.now(key), None)
        self.held.done(key)

    def give_back(self, part: Slice, now: float) -> None:
        """Give these tasks back to their sender."""
        peer, number, sub = key = self.held.now(part.key)
        link = self.receivers.links.get(peer)
        if link is None or part.key not in self.custody:
            return
        self.held.cut(part.key, part.start)
        self.returned[key] = Returned(part.key, part.start, part.stop)
        link.give_back(number, sub, part.start, now)

    def taken_back(self, sender: bytes, parts: Iterable[tuple[int, int]]) -> None:
        """The sender has taken the returned tasks of these (batch, part) back into its own custody."""
        for number, sub in parts:
            part = self.returned.pop((sender, number, sub), None)
            if part is not None:
                self.custody.release((part.key,), part.n)

    def forget_senders(self, gone: set[bytes]) -> None:
        """These senders are gone: nothing that they sent is acked any more."""
        for key in self.custody.keys():
            if key[0] in gone:
                self.custody.forget(key)
        self._forget_returns(gone)

    def _forget_returns(self, senders: set[bytes]) -> None:
        for key in [key for key in self.returned if key[0] in senders]:
            del self.returned[key]

    def adopt(
        self, old: bytes, broker: bytes, here: list[tuple[InputKey, int, int]], now: float
    ) -> list[HeldItem]:
        """Hand the roots that came from an old broker over to a new one, as its inputs.

        Args:
            old: the broker that sent them.
            broker: the new one.
            here: (input, tasks, bytes) of all tasks whose credit has not come back.
            now: monotonic seconds.

        Returns:
            The held roots, in the order of their new numbers, from 1.
        """
        for (sender, _, _), part in list(self.returned.items()):
            if sender == old:
                self.custody.release((part.key,), part.n)  # they are not in the report, and so sent again
        self._forget_returns({old})
        self.ack_zeroed(now)
        items = self.held.adopt(broker)
        window = self.receivers.adopt(broker, len(items)).window
        tasks = sum(item[3] for item in items)
        nbytes = sum(item[4] for item in items)
        window.allow(tasks, nbytes)
        owed = [part for part in here if self.held.now(part[0])[0] == broker]
        tasks -= sum(part[1] for part in owed)
        nbytes -= sum(part[2] for part in owed)
        window.leave(tasks, nbytes)
        return items

    def check(self) -> None:
        """Assert every invariant."""
        self.custody.check()
        self.receivers.check()
