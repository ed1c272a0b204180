"""Lines that are logged for a carrier's task are lines of one job."""

from __future__ import annotations

from zturbo.wire.carried import carried_id
from zturbo_broker.jobs.carried import of_its_job
from zturbo_broker.jobs.job import Job

CARRIER = b"c" * 16


def test_a_line_is_of_the_job_whose_task_ran() -> None:
    job = Job(CARRIER, "n", "p", b"", True, {}, b"", carries=3)
    find = {CARRIER: job}.get
    assert of_its_job(find, ("INFO", CARRIER, (1, 4), "x")) == ("INFO", carried_id(CARRIER, 1), (4,), "x")
    for record in (
        ("INFO", CARRIER, (3,), "of no job that it carries"),
        ("INFO", CARRIER, (), "of no task"),
        ("INFO", b"j" * 16, (1,), "of another job"),
        ("INFO", b"o" * 16, (1,), "of a job that is not known"),
        ("INFO", b"", (1,), "of no job"),
    ):
        assert of_its_job(find, record) == record
