"""Results of jobs that travel together are given to each job, however their messages are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.client.reader import contents_of
from zturbo.client.together import Together
from zturbo.wire.carried import carried_id
from zturbo.wire.messages import Results
from zturbo.wire.payload import pack_error, pack_many

CARRIER, TOKEN = b"c" * 16, 7
ERROR = pack_error(
    {
        "kind": "TaskError",
        "type": "ValueError",
        "message": "no",
        "stage": "s",
        "host": "h",
        "index": 0,
        "path": [0],
    }
)


def a_message(first: int, values: list[int | None], roots: tuple[tuple[int, int], ...]) -> Results:
    """Results from this index on; None stands for a failure."""
    good = [value for value in values if value is not None]
    fails = [(first + i, ERROR) for i, value in enumerate(values) if value is None]
    metas = pack_many([None] * len(good)) if good else None
    return Results(CARRIER, TOKEN, first, len(values), pack_many(good), metas, fails=fails, roots=roots)


def read(parts: list[Results]) -> list[int | None]:
    """The contents of one job, whose messages follow one another from 0 on."""
    out: list[int | None] = []
    for part in parts:
        assert part.first == len(out) and part.token == TOKEN
        out += [value if isinstance(value, int) else None for value in contents_of(part)]
    assert parts[-1].total == len(out) and all(part.total is None for part in parts[:-1])
    return out


ROOTS = st.lists(st.lists(st.one_of(st.none(), st.integers(0, 300)), max_size=4), max_size=8)


@given(ROOTS, st.lists(st.integers(0, 30), max_size=6), st.randoms(use_true_random=False))
def test_each_job_gets_its_own_wherever_messages_end(
    roots: list[list[int | None]], cuts: list[int], random: object
) -> None:
    values = [value for root in roots for value in root]
    stops, at = [], 0
    for root in roots:
        at += len(root)
        stops.append(at)
    edges = sorted({0, len(values), *(cut for cut in cuts if cut <= len(values))})
    together = Together(CARRIER, len(roots), TOKEN)
    got: dict[bytes, list[int | None]] = {}
    told = 0
    for first, stop in zip(edges, edges[1:] or edges, strict=False):
        ends = sum(end <= stop for end in stops)
        pairs = tuple((root, stops[root]) for root in range(told, ends))
        message = a_message(first, values[first:stop], pairs)
        told = ends
        for _ in range(2):  # the second time all of it is known
            for job, parts in together.take(message, message.nbytes, 0.0):
                assert job not in got
                got[job] = read(parts)
    assert got == {carried_id(CARRIER, root): roots[root] for root in range(len(roots))} and together.complete


def test_ends_that_make_no_sense_are_left_out() -> None:
    together = Together(CARRIER, 2, TOKEN)
    assert together.take(a_message(0, [1], ((5, 1), (1, 1))), 1, 0.0)[0][0] == carried_id(CARRIER, 1)
    assert together.take(a_message(1, [2], ((1, 2), (0, 0))), 1, 0.0) == [], (
        "a root ends once, and never before another"
    )


def test_a_message_after_a_lost_one_ends_no_job() -> None:
    """It was taken once, and a later job got the results of the jobs before it."""
    together = Together(CARRIER, 3, TOKEN)
    lost, second, third = (a_message(i, [64 + i], ((i, i + 1),)) for i in range(3))
    assert together.take(second, 1, 0.0) == []
    got = [one for message in (lost, second, third) for one in together.take(message, 1, 0.0)]
    assert [(job, read(parts)) for job, parts in got] == [
        (carried_id(CARRIER, i), [64 + i]) for i in range(3)
    ]
    assert together.complete


def test_results_that_were_lost_do_not_fit_those_that_come_instead() -> None:
    """They come in another order: a later job got those of a job that had ended before the loss."""
    together = Together(CARRIER, 3, TOKEN)
    assert together.fits(b"sink", 1) and together.fits(b"sink", 2), "a worker was lost"
    assert together.fits(b"back", 2), "the sink has come back with its spool"
    assert not together.fits(b"other", 3), "its spool was lost, or damaged"


def test_a_lost_end_shows_when_all_results_are_here() -> None:
    together = Together(CARRIER, 2, TOKEN)
    together.take(a_message(0, [1], ()), 1, 0.0)
    assert together.problem is None
    last = a_message(1, [2], ((1, 2),))
    last.total = 2
    together.take(last, 1, 0.0)
    assert not together.complete and together.problem is not None
