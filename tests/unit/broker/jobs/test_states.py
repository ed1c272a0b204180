"""Which state of a job may follow which."""

from __future__ import annotations

from zturbo.jobstates import ENDED, JobState
from zturbo_broker.jobs.states import JOB


def test_a_job_begins_by_waiting_and_does_not_leave_its_end() -> None:
    assert set(JOB.states) == set(JobState)
    assert JOB.start is JobState.WAITING
    assert JOB.last == ENDED
