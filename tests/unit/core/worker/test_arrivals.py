"""What a worker owes its senders: an ack of each batch, its credit, and tasks that it gives back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.worker.inputs import BROKER, JOB, ME, OTHER, SENDER, VIEW, Inputs, a_batch
from zturbo.core.worker.queue import Slice
from zturbo.wire.control.view import View

NEW = b"n" * 16


def test_a_batch_is_acked_when_nothing_of_it_is_left() -> None:
    inputs, key = Inputs(), (SENDER, 1, 0)
    inputs.come(a_batch(1, 2))
    inputs.arrivals.custody.hold([key])
    inputs.arrivals.custody.release([key], 2)
    inputs.arrivals.ack_zeroed(0.0)
    assert inputs.said().acked == 0, "its child is un-acked"
    inputs.arrivals.custody.release([key])
    inputs.arrivals.ack_zeroed(0.0)
    assert inputs.said().acked == 1


def test_what_nobody_wants_any_more_is_acked_at_once() -> None:
    inputs = Inputs()
    inputs.come(a_batch(1, 5))
    inputs.arrivals.drop((SENDER, 1, 0), 0.0)
    assert inputs.said().acked == 1 and not len(inputs.arrivals.custody)
    inputs.arrivals.custody.release([(SENDER, 1, 0)], 5)
    inputs.arrivals.ack_zeroed(0.0)
    assert inputs.said().acked == 1, "what is finished of it later does no harm"


def test_tasks_that_are_given_back_are_told_until_they_are_taken_back() -> None:
    inputs, batch = Inputs(), a_batch(1, 5)
    inputs.come(batch)
    inputs.arrivals.give_back(Slice(batch, 2, 5), 0.0)
    assert inputs.said().returns == inputs.said().returns == [(1, 0, 2)]
    inputs.arrivals.custody.release([(SENDER, 1, 0)], 2)
    inputs.arrivals.ack_zeroed(0.0)
    assert inputs.said().acked == 0, "three are still in custody"
    inputs.arrivals.taken_back(SENDER, [(1, 0), (7, 0)])
    inputs.arrivals.taken_back(SENDER, [(1, 0)])
    inputs.arrivals.ack_zeroed(0.0)
    assert inputs.said().acked == 1 and not inputs.arrivals.returned


def test_nothing_is_given_back_to_a_sender_that_is_gone_or_of_a_batch_that_is_acked() -> None:
    inputs, first, second = Inputs(), a_batch(1, 5), a_batch(1, 5, source=OTHER)
    inputs.come(first, second)
    inputs.arrivals.drop((SENDER, 1, 0), 0.0)
    gone = View(2, {name: member for name, member in VIEW.members.items() if name != OTHER})
    inputs.arrivals.forget_senders(set(inputs.arrivals.receivers.set_view(gone)))
    for batch in (first, second):
        inputs.arrivals.give_back(Slice(batch, 0, 5), 0.0)
    assert not inputs.arrivals.returned and inputs.said().returns == []


def test_of_a_sender_that_is_gone_nothing_is_kept() -> None:
    inputs, lost, kept = Inputs(), a_batch(1, 5, source=OTHER), a_batch(1, 5)
    inputs.come(lost, kept)
    inputs.arrivals.give_back(Slice(lost, 3, 5), 0.0)
    inputs.arrivals.give_back(Slice(kept, 3, 5), 0.0)
    inputs.arrivals.forget_senders({OTHER})
    assert inputs.arrivals.custody.keys() == [(SENDER, 1, 0)]
    assert [part.key for part in inputs.arrivals.returned.values()] == [(SENDER, 1, 0)]


def test_credit_comes_back_over_the_link_by_which_the_batch_came() -> None:
    inputs = Inputs()
    inputs.come(a_batch(1, 5), a_batch(1, 3, source=OTHER))
    inputs.arrivals.leave((SENDER, 1, 0), 5, 50)
    windows = {peer: inputs.arrivals.receivers.links[peer].window for peer in (SENDER, OTHER)}
    assert (windows[SENDER].left_tasks, windows[SENDER].left_bytes) == (5, 50)
    assert windows[OTHER].left_tasks == 0
    inputs.arrivals.leave((NEW, 1, 0), 1, 1)  # a sender that is gone has no window


# -- a new broker -------------------------------------------------------------------------------
def adopt(inputs: Inputs, here: list[tuple[tuple[bytes, int], int, int]]) -> list[tuple[int, int]]:
    """(first root, roots) of what a new broker is told."""
    members = {**VIEW.members, NEW: VIEW.members[BROKER]}
    del members[BROKER]
    inputs.arrivals.receivers.set_view(View(2, members))
    items = inputs.arrivals.adopt(BROKER, NEW, here, 0.0)
    assert all(job == JOB for job, *_ in items)
    return [(runs[0][0][0], n) for _, _, runs, n, _ in items]


def test_roots_that_are_held_become_inputs_of_the_new_broker() -> None:
    inputs = Inputs()
    batches = [a_batch(number, 4, source=BROKER, first=10 * number) for number in (1, 2, 3)]
    inputs.come(*batches, a_batch(1, 2))
    inputs.arrivals.drop((BROKER, 2, 0), 0.0)
    inputs.arrivals.give_back(Slice(batches[2], 1, 4), 0.0)
    told = adopt(inputs, [((BROKER, 1, 0), 4, 4), ((BROKER, 3, 0), 1, 1)])
    assert told == [(10, 4), (30, 1)], "neither what is acked, nor what was given back, nor another sender's"
    assert not inputs.arrivals.returned
    inputs.arrivals.custody.release([(BROKER, 3, 0)])
    inputs.arrivals.ack_zeroed(0.0)
    said = inputs.said(NEW)
    assert (said.received, said.acked, said.ranges) == (2, 0, [(2, 2)]), "numbered anew"


def test_credit_that_the_old_broker_had_is_owed_to_the_new_one() -> None:
    inputs = Inputs()
    inputs.come(a_batch(1, 4, source=BROKER), a_batch(2, 3, source=BROKER, first=4))
    inputs.arrivals.leave((BROKER, 1, 0), 4, 4)
    adopt(inputs, [((BROKER, 2, 0), 3, 3)])
    window = inputs.arrivals.receivers.links[NEW].window
    assert (window.limit_tasks, window.left_tasks) == (7, 4), "seven are here, four have left the queue"
    inputs.arrivals.leave((BROKER, 2, 0), 3, 3)
    assert window.left_tasks == 7


steps = st.lists(
    st.tuples(st.sampled_from(["finish", "hold", "ack", "give back", "taken"]), st.integers(0, 3))
)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), steps)
def test_a_batch_is_acked_once_when_all_of_it_is_done(sizes: list[int], steps: list[tuple[str, int]]) -> None:
    """Whatever happens with its tasks: each is finished or given back, and each child is acked."""
    inputs = Inputs()
    batches = [a_batch(number, n) for number, n in enumerate(sizes, 1)]
    inputs.come(*batches)
    left, children = dict(enumerate(sizes)), dict.fromkeys(range(len(sizes)), 0)
    back: dict[int, int] = {}
    custody = inputs.arrivals.custody
    for what, which in steps:
        at = which % len(sizes)
        key, running = (SENDER, at + 1, 0), left[at] - back.get(at, 0)
        if what == "finish" and running:
            left[at] -= 1
            custody.release([key])
        elif what == "hold" and running:
            children[at] += 1
            custody.hold([key])
        elif what == "ack" and children[at]:
            children[at] -= 1
            custody.release([key])
        elif what == "give back" and running and at not in back:
            back[at] = running
            n = batches[at].n
            inputs.arrivals.give_back(Slice(batches[at], n - running, n), 0.0)
        elif what == "taken" and at in back:
            left[at] -= back.pop(at)
            inputs.arrivals.taken_back(SENDER, [(at + 1, 0)])
            back[at] = 0
        inputs.arrivals.ack_zeroed(0.0)
        inputs.arrivals.check()
        done = [number for number in left if not left[number] and not children[number]]
        assert {key[1] - 1 for key in custody.keys()} == left.keys() - {*done}
    said = inputs.said()
    acked = {*range(1, said.acked + 1), *(k for low, high in said.ranges for k in range(low, high + 1))}
    assert acked == {number + 1 for number in left if not left[number] and not children[number]}
    assert ME == inputs.arrivals.receivers.me
