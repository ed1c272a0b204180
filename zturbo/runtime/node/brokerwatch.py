"""Whether the broker answers a node, and what is seen of it while it does not. All of it goes to the log."""

from __future__ import annotations

import logging
import math

from zturbo.runtime.net.findings import Examiner

__all__ = ["BrokerWatch"]

log = logging.getLogger("zturbo.node")


class BrokerWatch:
    """Watches whether the broker answers.

    Args:
        broker: its address.
        lease: seconds in which a broker answers that has been told which members live.
    """

    def __init__(self, broker: str, lease: float) -> None:
        self.broker = broker
        self._lease = lease
        self._examiner = Examiner(broker, "broker")
        self._heard = -math.inf
        """When the broker last answered."""
        self._asked: float | None = None
        """When it was first asked without an answer since; None if it owes none."""
        self._away = False

    def asked(self, now: float) -> None:
        """The broker has been asked something, and is to answer."""
        if self._asked is None:
            self._asked = now

    def heard(self, now: float) -> None:
        """The broker has answered."""
        self._heard, self._asked = now, None
        if self._away:
            self._away = False
            log.warning("the broker at %s answers again", self.broker)

    def look(self, now: float, *, connected: bool, own: bool) -> float:
        """Log what is new. Returns when to look again.

        Args:
            now: monotonic seconds.
            connected: whether a connection to it stands.
            own: whether it is a child of this node, which says itself how its start goes.
        """
        late = self._asked is not None and now - self._asked > self._lease
        if own:
            if late and self._heard > -math.inf and not self._away:
                self._complain("")
            return math.inf
        seen = self._examiner.news(now, answers=connected and not late)
        if seen:
            self._complain(f": {seen}")
        return self._examiner.deadline()

    def _complain(self, seen: str) -> None:
        self._away = True
        if self._heard == -math.inf:
            text = "no broker answers at %s yet%s; workers wait for it"
        else:
            text = "the broker at %s does not answer%s; workers go on, and wait for it"
        log.warning(text, self.broker, seen)
