"""Outputs of middling size share batches, each of which has about a megabyte at most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from zturbo import Stage, Task
from zturbo.core.effects import Work
from zturbo.core.links.outbatch import paths
from zturbo.core.worker.produced import Produced
from zturbo.runtime.code.output import BATCH_BYTES
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.runner import Runner
from zturbo.runtime.code.stagehost import StageHost
from zturbo.wire.messages import Batch
from zturbo.wire.payload import failure_fields, pack_many, unpack_many, unpack_meta

JOB, SENDER = b"j" * 16, b"s" * 16
COUNT, SIZE = 60, 50_000


class Fan(Stage):
    """Gives arrays one after another; the one named is ten times as large."""

    def __init__(self, large: int = -1, *, metas: bool = False) -> None:
        super().__init__()
        self.large = large
        self.metas = metas

    def process(self, task: Task) -> Iterator[Task]:
        """Give them at once, so that they gather."""
        for i in range(COUNT):
            array = np.full(SIZE if i != self.large else 10 * SIZE, i, np.uint8)
            yield Task(array.tobytes(), {"i": i} if self.metas else {})


def given(stage: Stage, most: int) -> list[Batch]:
    """What it gives for one task, where an output may have so many bytes."""
    out: list[Produced] = []
    host = StageHost(lambda: stage, name="s", index=0)
    runner = Runner(Production(host, out.extend, lambda job: 1, most))
    batch = Batch(JOB, 1, 0, [((0,), 1)], 1, pack_many([0]), number=1, source=SENDER)
    runner.run(Work(JOB, 1, [(batch, 0, 1)], (SENDER, 1), []))
    runner.idle()
    return [one.batch for one in out if one.batch is not None]


@pytest.mark.parametrize("metas", [False, True])
@pytest.mark.parametrize("most", [1 << 30, 2 * SIZE])
def test_batches_are_cut_between_outputs_with_their_paths_and_metas(most: int, metas: bool) -> None:
    batches = given(Fan(metas=metas), most)
    assert len(batches) < COUNT / 2, "several share one, also where one alone may have less than a batch"
    assert all(len(batch.blob) < BATCH_BYTES + 2 * SIZE for batch in batches)
    seen = []
    for batch in batches:
        contents = unpack_many(batch.blob, batch.n)
        where = list(paths(batch.runs))
        assert len(where) == batch.n
        found = [None] * batch.n if batch.metas is None else unpack_many(batch.metas, batch.n)
        for content, path, meta in zip(contents, where, found, strict=True):
            assert set(content) == {path[-1]} and len(content) == SIZE
            assert not metas or unpack_meta(meta)[0] == {"i": path[-1]}
            seen.append(path[-1])
    assert seen == list(range(COUNT))
    assert sum(len(batch.ends) for batch in batches) == 1 and batches[-1].ends, "the last one closes the path"


def test_an_output_over_the_limit_fails_alone() -> None:
    batches = given(Fan(large=7), 5 * SIZE)
    assert sum(batch.n for batch in batches) == COUNT - 1
    (fail,) = [fail for batch in batches for fail in batch.fails]
    assert fail.path == (0, 7) and failure_fields(fail.error)["kind"] == "TooLarge"
