"""What one side can make, the other can read: else a batch goes again for ever, and its stage is dead."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo import Stage, Task
from zturbo.core.effects import Work
from zturbo.core.worker.produced import Produced
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.runner import Runner
from zturbo.runtime.code.stagehost import StageHost
from zturbo.wire.codec import decode, encode
from zturbo.wire.messages import MAX_DEPTH, MAX_ERROR, MAX_INT, Batch, Mark, Stamp
from zturbo.wire.payload import pack_error, pack_many, unpack_error_map
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.strikes import Death, stand, strike

JOB, ME, PEER = b"j" * 16, b"m" * 16, b"p" * 16

numbers = st.sampled_from([-1, 0, 1, 1023, 1024, 1025, MAX_INT, MAX_INT + 1, 1 << 63, (1 << 64) - 1])
paths = st.lists(numbers, max_size=3).map(tuple) | st.integers(0, 200).map(lambda n: (0,) * n)
texts = st.text(max_size=20) | st.integers(0, 100_000).map(lambda n: "é" * n)
deaths = st.builds(
    lambda stage, text, cause, running: Death(
        stage, "w", text, cause, tuple((JOB, 1, *one) for one in running)
    ),
    numbers,
    texts,
    st.sampled_from(["", "timeout"]),
    st.lists(st.tuples(paths, numbers), min_size=1, max_size=2),
)


def arrives(marks: tuple[Mark, ...]) -> None:
    """A member reads the stamp that has these marks, as they are."""
    stamp = Stamp(JOB, 1, "p", {}, ME, marks=marks)
    batch = Batch(JOB, 1, 0, stamp=stamp, number=1, source=PEER, target=ME)
    got = decode([bytes(frame) for frame in encode(batch)])
    assert isinstance(got, Batch) and got.stamp == stamp


@settings(max_examples=60, deadline=None)
@given(st.lists(deaths, max_size=8), st.lists(st.tuples(numbers, paths, numbers), max_size=4))
def test_no_death_report_makes_a_stamp_that_no_member_reads(
    reports: list[Death], failures: list[tuple[int, tuple[int, ...], int]]
) -> None:
    job = Job(JOB, "name", "p", PEER, False, {}, b"", epoch=1)
    job.stamp = Stamp(JOB, 1, "p", {1: ME}, ME)
    for report in reports:
        strike(job, report, 3)
        arrives(job.marks)
    arrives(stand(job.marks, failures))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
def test_a_failure_of_any_size_is_cut_to_one_that_travels(text: int, meta: int, inputs: int) -> None:
    raw = pack_error(
        {
            "kind": "TaskError",
            "message": "m" * (text << 18),
            "traceback": "t" * (text << 18),
            "path": [1],
            "meta": {"m": "x" * (meta << 18)},
            "input_meta": ["x" * (meta << 17)],
            "input": [b"i" * (inputs << 20)],
        }
    )
    assert len(raw) <= MAX_ERROR
    fields = unpack_error_map(raw)
    assert (fields["kind"], fields["path"]) == ("TaskError", (1,))
    assert bool(text) == bool(fields["message"])


class Fans(Stage):
    def process(self, task: Task) -> Iterator[Task]:
        yield Task(task.content)


class FansWildly(Fans):
    deterministic = False


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([Fans, FansWildly]), st.integers(MAX_DEPTH - 2, MAX_DEPTH))
def test_a_fan_out_that_is_too_deep_fails_its_task(stage: type[Stage], depth: int) -> None:
    given_: list[Produced] = []
    runner = Runner(Production(StageHost(stage, name="s", index=0), given_.extend, lambda job: 1, 1 << 20))
    task = Batch(JOB, 1, 0, [((0,) * depth, 1)], 1, pack_many([7]), number=1, source=PEER)
    runner.run(Work(JOB, 1, [(task, 0, 1)], (PEER, 1), []))
    runner.idle()
    batches = [out.batch for out in given_ if out.batch is not None]
    fits = depth + (stage is FansWildly) < MAX_DEPTH
    assert sum(batch.n for batch in batches) == fits
    fails = [fail for batch in batches for fail in batch.fails]
    assert len(fails) == (not fits)
    for fail in fails:
        assert "64 is the limit" in unpack_error_map(fail.error)["message"]
    for batch in batches:
        batch.job, batch.epoch, batch.number, batch.source, batch.target = JOB, 1, 1, PEER, ME
        assert decode([bytes(frame) for frame in encode(batch)]) == batch
