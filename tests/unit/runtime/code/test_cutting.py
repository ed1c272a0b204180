"""Work that is cut short from another thread: each task is either started or given back."""

from __future__ import annotations

import threading

from zturbo.core.effects import Work
from zturbo.runtime.code.cutting import cut_short, start_next
from zturbo.wire.messages import Batch

N = 20_000


def work(n: int) -> Work:
    return Work(b"job", 1, [(Batch(b"job", 1, 0, [((0,), n)], n), 0, n)], None, [])


def test_each_task_goes_to_one_of_two_threads() -> None:
    for _ in range(20):
        some, begun = work(N), threading.Event()
        ran = 0

        def run() -> None:
            nonlocal ran
            while start_next(some.unstarted):  # noqa: B023 - it ends within this round
                ran += 1
                begun.set()  # noqa: B023

        thread = threading.Thread(target=run)
        thread.start()
        assert begun.wait(30)
        started = cut_short(some)
        thread.join()
        assert started == ran == some.started == N - some.cut


def test_what_is_not_started_is_given_back() -> None:
    some = work(4)
    assert all(start_next(some.unstarted) for _ in range(3))
    assert cut_short(some) == 3
    assert not start_next(some.unstarted)
    assert (some.started, some.cut) == (3, 1)
