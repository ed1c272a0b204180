"""Which roots are needed no more, as results are taken from the first one on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.order.sequencer import Sequencer
from zturbo.core.sink import taken as taken_module
from zturbo.core.sink.taken import TakenRoots
from zturbo.wire.messages import Path, Taken


def test_roots_that_give_one_result_each_go_one_by_one() -> None:
    roots = TakenRoots()
    roots.released(0, (0,), 3)
    roots.released(3, (3,), 2)
    assert [roots.take(index) for index in range(6)] == [(index, index) for index in range(6)]


def test_a_root_goes_when_the_next_one_has_given_something() -> None:
    roots = TakenRoots()
    roots.released(0, (0, 0), 2)
    roots.released(2, (0, 2, 0), 1)
    roots.released(3, (0,), 1)  # its failure, after its children
    assert roots.take(4) == (0, 0), "it may give more"
    roots.released(4, (3, 0), 1)
    assert roots.take(3) == (0, 0)
    assert roots.take(4) == (3, 4), "so roots 1 and 2 have given nothing, and are at their end"


def test_a_job_goes_on_where_an_earlier_life_ended() -> None:
    roots = TakenRoots(Taken(7, 12, 1))
    assert roots.take(12) == (7, 12)
    roots.released(12, (9,), 2)
    assert roots.take(12) == (9, 12)
    assert roots.take(13) == (10, 13)


def test_a_reader_that_is_far_behind_costs_little_memory(monkeypatch: object) -> None:
    roots = TakenRoots()
    for root in range(2 * taken_module.MOST):
        roots.released(2 * root, (root, 0), 2)
    behind = roots.take(4 * taken_module.MOST)
    assert behind == (taken_module.MOST - 1, 2 * taken_module.MOST - 2)
    roots.released(4 * taken_module.MOST, (2 * taken_module.MOST, 0), 1)
    assert roots.take(4 * taken_module.MOST) == (2 * taken_module.MOST, 4 * taken_module.MOST)


@st.composite
def jobs(draw: st.DrawFn) -> list[list[Path]]:
    """For each root, the paths of its results, in order."""
    made: list[list[Path]] = []
    for root in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["one", "none", "some", "deep", "failed"]))
        if kind == "one":
            made.append([(root,)])
        elif kind == "none":
            made.append([])
        else:
            inner = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
            paths: list[Path] = []
            for i, n in enumerate(inner):
                paths += [(root, i, j) for j in range(n)] if kind == "deep" else [(root, i)]
            made.append([*paths, (root,)] if kind == "failed" else paths)
    return made


@given(jobs(), st.data())
def test_no_root_goes_before_its_results_and_none_is_counted_twice(
    job: list[list[Path]], data: st.DataObject
) -> None:
    """Whatever results were taken when, a job that begins with the other roots gives the other results."""
    roots, index, taken = TakenRoots(), 0, 0
    for paths in job:
        for path in paths:
            roots.released(index, path, 1)
            index += 1
            taken = data.draw(st.integers(taken, index))
            n, results = roots.take(taken)
            assert results == sum(map(len, job[:n]))
            assert results <= taken
    n, results = roots.take(index)
    assert results == sum(map(len, job[:n]))
    left = sum(map(len, job[n:]))
    assert index - results == left


def test_a_sequencer_that_begins_later_takes_the_roots_before_as_done() -> None:
    sequencer = Sequencer()
    sequencer.begin_at(3)
    assert sequencer.enter_run((0,), 3, "copies") == 0
    assert sequencer.enter_run((2,), 3, "some", 0) == 2
    assert [(piece.path, piece.n, piece.offset) for piece in sequencer.pop(9)] == [((3,), 2, 1)]
    assert sequencer.entered() == [(0, 5)]
    assert sequencer.enter_end((), 5)
    assert sequencer.complete and sequencer.drained
    sequencer.check()
