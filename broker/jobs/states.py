"""The states of a job at the broker, and which may follow which."""

from __future__ import annotations

from zturbo.core.states import Table
from zturbo.jobstates import JobState

__all__ = ["JOB"]

WAITING, RUNNING = JobState.WAITING, JobState.RUNNING
DONE, FAILED, CANCELLED = JobState.DONE, JobState.FAILED, JobState.CANCELLED

JOB: Table[JobState] = Table(
    "Job at the broker",
    {
        WAITING: "it is in the ledger, and not placed: seats, a sink, a worker or its pipeline are missing",
        RUNNING: "a stamp says where it runs; its roots are sent as credit allows",
        DONE: "its sink has all of its results in order, failed tasks among them",
        FAILED: "it ended without a result; the error says why",
        CANCELLED: "a client ended it",
    },
    [
        (WAITING, RUNNING, "a sink is there, and a seat for it in each ordered stage"),
        (RUNNING, WAITING, "a stamped worker or its sink is lost, or it is retried: a higher epoch"),
        (RUNNING, DONE, "its sink says that all paths are ended"),
        (WAITING, FAILED, "its deadline, its client's absence, or lost results"),
        (RUNNING, FAILED, "a member's word on it, its deadline, its client's absence, or lost results"),
        (WAITING, CANCELLED, "a client asks for it, or lets go of it"),
        (RUNNING, CANCELLED, "a client asks for it, or lets go of it"),
    ],
)
