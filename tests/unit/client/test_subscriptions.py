"""A reader whose results are at no sink asks the broker ever more seldom, and at once when it is told to."""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import Any

from tests.unit.client.played import JOB, at
from zturbo.client.acceptance import Acceptance
from zturbo.client.subscription import SELDOM, SOON, Subscription
from zturbo.client.subscriptions import Subscriptions
from zturbo.core.result_stream import ResultStream
from zturbo.wire.control import answers, to_broker


class Asked:
    """A broker that knows no sink yet."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, message: to_broker.Attach) -> Future[answers.Whereabouts]:
        self.times += 1
        future: Future[answers.Whereabouts] = Future()
        future.set_result(at(None, self.times))
        return future


class Memory:
    trim_at = math.inf


def test_a_reader_that_waits_asks_seldom_and_at_once_when_it_is_told_to() -> None:
    asked = Asked()
    nothing: Any = None
    memory: Any = Memory()
    subs = Subscriptions(nothing, nothing, asked, nothing, memory)
    sub = Subscription(ResultStream(JOB, 1, 0), lambda *_: None, lambda error: None)
    subs.begin(sub, Acceptance.of(at(None, 1)), True, 0.0)
    pauses = []
    for _ in range(8):
        before = sub.pause
        subs.serve(sub.locate_at)
        pauses.append(before)
    assert asked.times == 8
    assert pauses == sorted(pauses) and pauses[0] == 2 * SOON and pauses[-1] == SELDOM
    due = sub.locate_at
    subs.serve(due - 0.5)
    assert asked.times == 8, "not yet"
    subs.moved([b"k" * 16], due - 0.5)
    subs.serve(due - 0.5)
    assert asked.times == 8, "another job's"
    subs.moved([JOB], due - 0.5)
    subs.serve(due - 0.5)
    assert asked.times == 9 and sub.pause == 2 * SOON
