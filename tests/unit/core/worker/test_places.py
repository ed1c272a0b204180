"""Each task of a worker is in one place, and there is a way out of each place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.effects import Work
from zturbo.core.worker.arrivals import Returned
from zturbo.core.worker.places import PLACES, TaskPlace, located
from zturbo.core.worker.queue import InputQueue, Slice
from zturbo.wire.messages import Batch, Path

P = TaskPlace
SENDER, JOB = b"s" * 16, b"j" * 16


def a_batch(number: int, n: int) -> Batch:
    return Batch(JOB, 1, 0, [((0,), n)], n, bytes(n), number=number, source=SENDER)


def work_of(*parts: Slice) -> Work:
    return Work(JOB, 1, [(part.batch, part.start, part.stop) for part in parts], parts[0].key, [])


def test_no_task_has_to_stay_in_a_worker() -> None:
    out = {P.GONE}
    while more := {old for old, new in PLACES.transitions if new in out} - out:
        out |= more
    assert out == set(TaskPlace)
    assert PLACES.last == {P.GONE} and PLACES.start is P.ARRIVED


def test_each_container_is_a_place() -> None:
    queue, key = InputQueue(), (SENDER, 1, 0)
    queue.add(a_batch(1, 9))
    part = queue.next(lambda job: {(3,)})
    assert part is not None
    returned = Returned((SENDER, 2, 0), 4, 6)
    assert sorted(located(queue, [work_of(part)], [returned])) == [
        (key, 0, 3, P.HANDED),
        (key, 3, 4, P.ASIDE),
        (key, 4, 9, P.QUEUED),
        ((SENDER, 2, 0), 4, 6, P.RETURNED),
    ]


def test_tasks_that_were_taken_back_are_not_with_the_code() -> None:
    """They are cut off from the end, over several pieces if it has to be."""
    first, second = Slice(a_batch(1, 5), 2, 5), Slice(a_batch(2, 3), 0, 3)
    work = work_of(first, second)
    found = []
    for cut in (0, 2, 4, 6):
        work.cut = cut
        found.append(
            [(key[1], start, stop) for key, start, stop, _ in sorted(located(InputQueue(), [work], []))]
        )
    assert found == [[(1, 2, 5), (2, 0, 3)], [(1, 2, 5), (2, 0, 1)], [(1, 2, 4)], []]


steps = st.lists(st.sampled_from(["add", "next", "alone", "give back"]), max_size=20)


@given(steps, st.lists(st.integers(1, 6), min_size=20, max_size=20), st.sets(st.integers(0, 5), max_size=3))
def test_whatever_is_done_with_a_queue_each_task_is_in_one_place(
    steps: list[str], sizes: list[int], suspects: set[int]
) -> None:
    queue, handed, returned, known = InputQueue(), [], [], {}
    paths: set[Path] = {(k,) for k in suspects}
    for number, step in enumerate(steps):
        if step == "add":
            queue.add(a_batch(number, sizes[number]))
            known.update({(number, index): P.QUEUED for index in range(sizes[number])})
        elif step == "give back":
            returned += [Returned(part.key, part.start, part.stop) for part in queue.give_back()]
        elif (part := queue.next(lambda job: paths) if step == "next" else queue.next_alone()) is not None:
            handed.append(work_of(part))
        now: dict[tuple[int, int], TaskPlace] = {}
        for (_, of, _), start, stop, place in located(queue, handed, returned):
            for index in range(start, stop):
                assert (of, index) not in now, "it is in two places"
                now[of, index] = place
        assert now.keys() == known.keys(), "a task is nowhere"
        moved = {(known[task], place) for task, place in now.items() if known[task] is not place}
        assert moved <= PLACES.transitions.keys()
        known = now
