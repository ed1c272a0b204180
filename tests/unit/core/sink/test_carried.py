"""Jobs that travel together: their carrier's reader hears of each end, and each may be read by its own id."""

from __future__ import annotations

from tests.unit.core.sink.jobs import JOB, ME, a_batch, a_fail, a_job, enter
from zturbo.core.counts import EndedJobs
from zturbo.core.effects import Deliver, Effect
from zturbo.core.sink.readers import MAX_ENDS, Readers
from zturbo.wire.carried import carried_id, place_of
from zturbo.wire.messages import Results, Stamp, Want

ANN, BOB = b"a" * 16, b"b" * 16
CARRIER = b"c" * 16


class Sink:
    """Readers of a sink that has a carrier."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.job = a_job(order="roots", reader=ANN, token=7)
        self.job.stamp = Stamp(**{**_fields(self.job.stamp), "job": CARRIER})
        self.jobs = {CARRIER: self.job}
        self.ended = EndedJobs(ME)
        self.readers = Readers(self.jobs, self.ended, self.effects)

    def ask(self, client: bytes, want: Want) -> list[tuple[bytes, Results]]:
        if self.readers.want(client, want, 0.0):
            self.readers.serve(self.job)
        return self.got()

    def serve(self) -> list[tuple[bytes, Results]]:
        self.readers.serve(self.job)
        return self.got()

    def got(self) -> list[tuple[bytes, Results]]:
        given = [effect for effect in self.effects if isinstance(effect, Deliver)]
        self.effects.clear()
        return [(effect.client, effect.results) for effect in given]


def _fields(stamp: Stamp) -> dict[str, object]:
    return {name: getattr(stamp, name) for name in stamp.__slots__}


def test_ids() -> None:
    assert place_of(carried_id(CARRIER, 0)) == (CARRIER, 0)
    assert place_of(carried_id(CARRIER, 1023)) == (CARRIER, 1023)
    assert place_of(CARRIER) == (CARRIER, -1)


def test_results_and_ends_of_roots_come_unasked_as_they_are() -> None:
    sink = Sink()
    enter(sink.job, 1, a_batch(5, 6, first=1))
    ((client, results),) = sink.serve()
    assert (client, results.job, results.token, results.n) == (ANN, CARRIER, 7, 2)
    assert results.roots == ((1, 1), (2, 2)) and results.total is None
    enter(sink.job, 2, a_batch(4, ends=3))
    ((_, results),) = sink.serve()
    assert (results.first, results.roots, results.total) == (2, ((0, 3),), 3)


def test_ends_without_results_are_told_and_told_again_when_asked() -> None:
    sink = Sink()
    batch = a_batch(ends=2)
    batch.ends += [batch.ends[0]._replace(path=(root,), count=0) for root in (0, 1)]
    enter(sink.job, 1, batch)
    (_, ends), (_, total) = sink.serve()
    assert (ends.n, ends.roots) == (0, ((0, 0), (1, 0)))
    assert (total.total, total.roots) == (0, ())
    again = sink.ask(ANN, Want(CARRIER, 7, 0, 64, 0))
    assert [results.roots for _, results in again if results.roots] == [((0, 0), (1, 0))]


def test_very_many_ends_are_told_in_several_messages() -> None:
    sink = Sink()
    batch = a_batch(ends=MAX_ENDS + 5)
    batch.ends += [batch.ends[0]._replace(path=(root,), count=0) for root in range(MAX_ENDS + 5)]
    enter(sink.job, 1, batch)
    assert [len(results.roots) for _, results in sink.serve()] == [MAX_ENDS, 5, 0]


def test_one_of_them_is_read_by_its_own_id() -> None:
    sink = Sink()
    enter(sink.job, 1, a_batch(5, 6, first=1))
    sink.serve()
    mine, later = carried_id(CARRIER, 2), carried_id(CARRIER, 0)
    ((client, results),) = sink.ask(BOB, Want(mine, 9, 0, 64, 0))
    assert (client, results.job, results.token, results.first, results.n) == (BOB, mine, 9, 0, 1)
    assert results.total == 1
    assert sink.ask(BOB, Want(later, 9, 0, 64, 0)) == [], "it has not ended"
    enter(sink.job, 2, a_batch(fails=(a_fail((0,)),), ends=3))
    got = [results for client, results in sink.serve() if client == BOB]
    assert [(results.job, results.n, results.total) for results in got] == [(later, 1, 1)]
    assert sink.serve() == []


def test_a_question_that_comes_before_the_carrier_is_kept() -> None:
    sink = Sink()
    del sink.jobs[CARRIER]
    mine = carried_id(CARRIER, 0)
    assert sink.ask(BOB, Want(mine, 9, 0, 64, 0)) == sink.ask(BOB, Want(JOB, 9, 0, 64, 0)) == []
    assert sink.readers.begin(CARRIER) == [(BOB, Want(mine, 9, 0, 64, 0))]
    assert sink.readers.begin(JOB) == [(BOB, Want(JOB, 9, 0, 64, 0))]


def test_readers_of_each_hear_that_the_carrier_is_forgotten() -> None:
    sink = Sink()
    mine = carried_id(CARRIER, 0)
    sink.ask(BOB, Want(mine, 9, 0, 64, 0))
    sink.readers.end(sink.job)
    assert {(client, results.job) for client, results in sink.got()} == {(ANN, CARRIER), (BOB, mine)}
    del sink.jobs[CARRIER]
    sink.ended.add(CARRIER, None, 0.0)
    ((_, refused),) = sink.ask(BOB, Want(mine, 9, 0, 64, 0))
    assert refused.problem is not None
