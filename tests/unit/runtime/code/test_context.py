"""A worker looks for its descriptors after its work.

If one is gone, all work since the last look is noted.
"""

from __future__ import annotations

from typing import Any

import pytest

from zturbo.runtime.code import context
from zturbo.runtime.code.context import LOOK_EVERY, MOST_RAN, StageContext
from zturbo.runtime.process.running import RunningNote

FIRST, SECOND = b"1" * 16, b"2" * 16


class Left(Exception):
    """The process would have ended."""


class Closed:
    """Descriptors that are there until the test says so."""

    def __init__(self) -> None:
        self.looks = 0
        self.open = True

    def there(self) -> bool:
        self.looks += 1
        return self.open


class Worked:
    """A stage's context whose time the test has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(context, "perf_counter", lambda: self.now)

        def leave(status: int) -> None:
            raise Left

        monkeypatch.setattr("os._exit", leave)
        self.descriptors: Any = Closed()
        self.note = RunningNote(RunningNote.make())
        self.context = StageContext("s", 0, running_note=self.note, descriptors=self.descriptors)

    def work(self, job: bytes = FIRST, number: int = 0) -> None:
        """A task of this job has run."""
        self.context.look_after(job, 1, lambda: [(number,)])

    @property
    def noted(self) -> list[tuple[bytes, tuple[int, ...]]]:
        """The tasks that count as running."""
        return [(running.job, running.path) for running in self.note.read()]


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> Any:
    worked = Worked(monkeypatch)
    yield worked
    worked.note.close()


def test_slow_work_is_followed_by_a_look_each_time(worked: Worked) -> None:
    for _ in range(3):
        worked.now += 2 * LOOK_EVERY
        worked.work()
    assert worked.descriptors.looks == 3
    worked.context.look()
    assert worked.descriptors.looks == 3, "nothing has run since"


def test_quick_work_shares_a_look(worked: Worked) -> None:
    for _ in range(2 * MOST_RAN):
        worked.work()
    assert worked.descriptors.looks == 1 + (2 * MOST_RAN - 1) // MOST_RAN
    worked.context.look()
    worked.context.look()
    assert worked.descriptors.looks == 3, "the rest waits until no work is at hand"


def test_work_after_which_a_descriptor_is_gone_is_noted(worked: Worked) -> None:
    worked.descriptors.open = False
    with pytest.raises(Left):
        worked.work(FIRST, 7)
    assert worked.noted == [(FIRST, (7,))]


def test_all_work_since_the_last_look_is_noted_with_its_jobs(worked: Worked) -> None:
    worked.work(FIRST, 1)
    worked.work(FIRST, 2)
    worked.work(SECOND, 3)
    worked.descriptors.open = False
    with pytest.raises(Left):
        worked.context.look()
    assert worked.noted == [(FIRST, (2,)), (SECOND, (3,))], "the first look was before these"


def test_a_task_that_runs_is_to_blame_alone(worked: Worked) -> None:
    worked.work(FIRST, 1)
    worked.work(FIRST, 2)
    worked.descriptors.open = False
    worked.note.several(SECOND, 1, [(4,)])
    with pytest.raises(Left):
        worked.context.look()
    assert worked.noted == [(SECOND, (4,))]
