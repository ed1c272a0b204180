"""A wall clock that steps."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.clock import Clock
from tests.support.cluster import Cluster
from tests.support.logged import counts, logged
from zturbo import Task


def test_a_wall_clock_that_steps_by_hours(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    with Cluster({"p": logged(tmp_path)}, env=clock.env) as cluster, cluster.client() as client:
        stream = client.map(range(400), pipeline="p", timeout=250.0)
        got = [next(stream) for _ in range(50)]
        created = client.jobs()[0]["created"]
        for step in ("+9h", "-7h", "+200d"):
            clock.step(step)
            got += [next(stream) for _ in range(80)]
            time.sleep(1)
        late = client.submit(Task(-1), pipeline="p")
        assert late.status()["created"] - created > 100 * 86400, "the step was seen"
        got += list(stream)
        assert got == list(range(400))
        for name in ("first", "second"):
            done = counts(tmp_path / name)
            assert max(done.values()) == 1, "nothing was done again"
        assert not [event for event in cluster.events if event[0] == "exited"]
