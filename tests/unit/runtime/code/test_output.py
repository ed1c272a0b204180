"""When outputs are taken: soon, but together."""

from __future__ import annotations

import itertools
import sys
import threading
from unittest.mock import patch

import pytest

from zturbo.runtime.code import output
from zturbo.runtime.code.output import BATCH_BYTES, FLUSH_AFTER, QUICK, Output
from zturbo.wire.messages import MANY_TASKS
from zturbo.wire.payload import take


def batches(each: float, outputs: int) -> list[tuple[float, int]]:
    """(seconds since the batch began, size) of each batch that is taken of outputs that take so long each."""
    clock = [100.0]
    began = [0.0]
    taken: list[tuple[float, int]] = []

    def flush() -> None:
        taken.append((clock[0] - began[0], len(out)))
        out.clear()

    with patch.object(output, "perf_counter", lambda: clock[0]):
        out = Output(flush, lambda: None)
        for number in range(outputs):
            if not len(out):
                began[0] = clock[0]
            clock[0] += each
            out.contents.append(number)
            out.added()
    return taken


@pytest.mark.parametrize(
    ("each", "longest"), [(5e-3, 1), (FLUSH_AFTER / 10, 16), (FLUSH_AFTER / (QUICK / 2), QUICK)]
)
def test_outputs_of_slow_tasks_do_not_wait_for_others(each: float, longest: int) -> None:
    for waited, size in batches(each, 50 * longest)[1:]:
        assert waited <= 2 * FLUSH_AFTER + 2 * each and size <= 2 * longest


def test_outputs_of_quick_tasks_share_large_batches() -> None:
    taken = batches(FLUSH_AFTER / (4 * QUICK), 20_000)[2:]
    assert min(size for _, size in taken) > 8 * QUICK
    assert max(waited for waited, _ in taken) < 9 * FLUSH_AFTER


def test_a_batch_is_bounded() -> None:
    assert max(size for _, size in batches(1e-7, 50_000)) < MANY_TASKS + 64


@pytest.mark.parametrize("content", [b"x" * 50_000, "x" * 50_000, take(bytearray(50_000))])
def test_large_outputs_do_not_gather(content: object) -> None:
    """However fast they come: a stage may give the same bytes again and again."""
    made: list[int] = []

    def flush() -> None:
        made.append(len(out))
        out.clear()

    clock = itertools.count(1, 1e-9)
    with patch.object(output, "perf_counter", lambda: next(clock)):
        out = Output(flush, lambda: None)
        for _ in range(2_000):
            out.contents.append(content)
            out.added()
    assert made and max(made) * 50_000 < BATCH_BYTES + 65 * 50_000


def test_another_thread_may_not_take_outputs_while_no_code_runs() -> None:
    out = Output(lambda: None, lambda: None)
    assert not out.begin_taking()
    assert not out.taking


def test_the_codes_thread_waits_until_its_outputs_are_taken() -> None:
    out, began, over = Output(lambda: None, lambda: None), threading.Event(), threading.Event()
    waited = []

    def take() -> None:
        began_taking = out.begin_taking()
        began.set()
        while not (over.is_set() or waited):
            if sys._current_frames()[main].f_code is Output.wait.__code__:
                waited.append(began_taking)
        out.end_taking()

    main = threading.get_ident()
    thread = threading.Thread(target=take)
    out.call(lambda: (thread.start(), began.wait()))
    over.set()
    thread.join()
    assert waited == [True]


def test_no_output_is_lost_or_taken_twice_by_another_thread() -> None:
    out, taken, over = Output(lambda: None, lambda: None), [], threading.Event()
    tries = 0

    def take() -> None:
        nonlocal tries
        while not over.is_set():
            if out.begin_taking():
                tries += 1
                here = list(out.contents)
                taken.extend(number for number in here)  # step by step, so that the other thread could go on
                out.clear()
                out.end_taking()

    before = sys.getswitchinterval()
    thread = threading.Thread(target=take)
    sys.setswitchinterval(1e-6)  # let threads change as often as they can
    try:
        thread.start()
        made = 0
        while made < 20_000 or tries < 100:
            made = out.call(lambda number: number + 1, made)
            out.begin_run((made,), len(out.contents))
            out.contents.append(made)
            out.finished += 1
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(before)
    assert [*taken, *out.contents] == list(range(1, made + 1))
