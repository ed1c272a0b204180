"""Contents between processes: what cannot be read fails alone, what is used again arrives as it was."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stages.contents import (
    Again,
    Give,
    Same,
    SameAsync,
    SameBatch,
    SameById,
    SameInOrder,
)
from tests.support.cluster import Cluster
from tests.support.cluster import stage as stage_table
from zturbo import Stage
from zturbo.errors import WorkerLost
from zturbo.testing import TestPipeline


@pytest.mark.parametrize("stage", [Same, SameAsync, SameBatch, SameInOrder, SameById])
def test_a_content_that_cannot_be_unpacked_fails_alone_at_a_stage(stage: type[Stage]) -> None:
    with TestPipeline([Give(), stage()], processes=True) as pipeline:
        got = list(pipeline.client.map(range(6), pipeline.name, on_error="return"))
    errors = [one for one in got if isinstance(one, Exception)]
    assert sorted(one for one in got if not isinstance(one, Exception)) == [0, 1, 3, 5]
    assert len(errors) == 2 and all("riddle" in str(error) for error in errors)


def test_a_content_whose_unpacking_ends_the_worker_is_condemned_alone() -> None:
    kinds = ["Same", "SameAsync", "SameBatch", "SameInOrder", "SameById"]
    at = "tests.stages.contents:"
    pipelines = {
        kind: [stage_table("give", f"{at}GiveMines"), stage_table("same", at + kind)] for kind in kinds
    }
    with Cluster(pipelines) as cluster, cluster.client() as client:
        running = {kind: client.map(range(30), kind, on_error="return") for kind in kinds}
        for kind, results in running.items():
            got = list(results)
            good = [one for one in got if not isinstance(one, Exception)]
            assert good == [i for i in range(30) if i not in (7, 13, 19)], kind
            *errors, raised = [one for one in got if isinstance(one, Exception)]
            assert all(isinstance(error, WorkerLost) for error in errors), (kind, errors)
            exited, crashed = map(str, errors)
            assert "the code that unpacks it raised KeyboardInterrupt" in str(raised), (kind, raised)
            assert "killed its worker, 3 times" in exited and "exit code 9" in exited, (kind, exited)
            assert "killed its worker, 3 times" in crashed and "SIGSEGV" in crashed, (kind, crashed)


def test_a_content_that_cannot_be_unpacked_fails_alone_at_the_client() -> None:
    with TestPipeline([Give()], processes=True) as pipeline:
        client = pipeline.client
        got = list(client.map(range(6), pipeline.name, on_error="return"))
        assert [one for one in got if isinstance(one, int)] == [0, 1, 3, 4, 5]
        assert "cannot be unpacked here" in str(got[2])
        assert list(client.map(range(4), pipeline.name, on_error="skip")) == [0, 1, 3]
        with pytest.raises(Exception, match="cannot be unpacked here"):
            list(client.map(range(4), pipeline.name, on_error="raise"))


def test_what_a_stage_uses_again_arrives_as_it_was() -> None:
    with TestPipeline([Again()], processes=True) as pipeline:
        tasks = pipeline.run([0]).tasks
        assert [task.meta["i"] for task in tasks] == list(range(5))
        rows: list[Any] = [task.content for task in tasks]
        assert [(row[0][3], row[1][-1], row[2]["i"]) for row in rows] == [(i, i, i) for i in range(5)]


def test_what_an_iterable_uses_again_arrives_as_it_was() -> None:
    def again() -> Any:
        plain: dict[str, int] = {}
        for i in range(5):
            plain["i"] = i
            yield plain

    with TestPipeline([Same()], processes=True) as pipeline:
        assert list(pipeline.client.map(again(), pipeline.name)) == [{"i": i} for i in range(5)]
