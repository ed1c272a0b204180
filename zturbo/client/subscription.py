"""One reader of one job's results, as the client's I/O thread has it."""

from __future__ import annotations

import math
from collections.abc import Callable

from zturbo.core.result_stream import ResultStream
from zturbo.core.states import State, Table
from zturbo.slotted import field, slotted
from zturbo.wire.messages import Results

__all__ = ["SELDOM", "SOON", "SUBSCRIPTION", "Subscription", "SubscriptionState"]

SOON, SELDOM = 0.05, 1.0
"""Seconds between two questions to the broker where results are, while they are at no sink, or the connection
to their sink is broken: at first, and at most. The broker tells when it knows more."""


class SubscriptionState(State):
    """The state of a reader of results."""

    SEEKING = "seeking"
    READING = "reading"
    DOUBTED = "doubted"
    OVER = "over"


_S = SubscriptionState

SUBSCRIPTION: Table[SubscriptionState] = Table(
    "Subscription of a reader to results",
    {
        _S.SEEKING: "no sink is known that has the results; the broker is asked which one does",
        _S.READING: "a sink is asked for results; the broker is asked now and then whether they moved",
        _S.DOUBTED: "the sink does not serve the job; the broker is asked whether the results are lost",
        _S.OVER: "the reader has stopped, or was told an error",
    },
    [
        (_S.SEEKING, _S.READING, "the broker names a sink"),
        (_S.READING, _S.DOUBTED, "the sink has no such job, or has lost results"),
        (_S.DOUBTED, _S.SEEKING, "the job has not ended, so that its results will be there again"),
        (_S.SEEKING, _S.OVER, "the reader stops, the job failed, or the client is closed"),
        (_S.READING, _S.OVER, "the reader stops, the job failed, or another reader took over"),
        (_S.DOUBTED, _S.OVER, "the job is done and its results are lost, or the reader stops"),
    ],
)


@slotted(eq=False)
class Subscription:
    """One reader of one job's results. All of its methods are called in the client's I/O thread."""

    stream: ResultStream
    deliver: Callable[[Results, int], None]
    """Called with results, and how many of the first ones to skip."""
    fail: Callable[[BaseException], None]
    """Called once, with the error, if not all results will come."""
    state: SubscriptionState = SubscriptionState.SEEKING
    sink: bytes = b""
    """The sink that is asked."""
    doubt: str = ""
    """Why the sink does not serve the job."""
    locate_at: float = 0.0
    """When to ask the broker again where the results are."""
    pause: float = SOON
    """Seconds until it asks again, while the results are at no sink that answers."""
    located_at: float = -math.inf
    """When it was last asked that."""
    locating: bool = False
    """Whether the broker's answer is awaited."""
    heard: float = 0.0
    """When results came last."""
    late: bool = False
    """Whether its turn is an old one, and another reader may have a newer one."""
    late_until: float = 0.0
    """Until when the sink's word that this is so makes it ask for a newer turn."""
    name: str = ""
    """The job's."""
    waits: str = ""
    """What the job waits for, as the broker says; empty if it goes on."""
    unreached: str = ""
    """The sink that has its results, if this client does not reach it, and what is seen of it."""
    story: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more is delivered."""
        return self.state is SubscriptionState.OVER

    def look_soon(self, now: float) -> None:
        """Ask again soon, and ever more seldom, up to once a second."""
        self.locate_at = now + self.pause
        self.pause = min(2 * self.pause, SELDOM)

    def look_now(self, now: float) -> None:
        """Something has happened after which the results may be elsewhere."""
        self.locate_at, self.pause = now, SOON

    def read_from(self, sink: bytes) -> None:
        """The broker names the sink that has the results."""
        self.sink = sink
        if self.state is not SubscriptionState.READING:
            self._move(SubscriptionState.READING)
        self.stream.restart()

    def doubted(self, problem: str) -> None:
        """The sink does not serve the job, for this reason."""
        self.doubt = problem
        self._move(SubscriptionState.DOUBTED)

    def seek(self) -> None:
        """The sink does not have the results now; the broker will name one that does."""
        self.doubt, self.sink = "", b""
        self._move(SubscriptionState.SEEKING)

    def overtaken(self, now: float) -> bool:
        """Another reader has a newer turn. Returns whether this one came later, and asks for one too."""
        late, self.late = self.late and now < self.late_until, False
        if late:
            self.stream.token = 0
            self.doubted("another reader has come")
            self.seek()
            self.stream.restart()
        return late

    def end(self) -> None:
        """Nothing more is to be delivered."""
        if not self.over:
            self._move(SubscriptionState.OVER)

    def _move(self, state: SubscriptionState) -> None:
        self.state = SUBSCRIPTION.move(self.state, state, self.story)
