"""Jobs in memory and in the ledger: none is lost between the two, and a page costs a page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.jobstates import ENDED, JobState
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.table import JobTable


class Rows:
    """A ledger."""

    def __init__(self) -> None:
        self.jobs: dict[bytes, Job] = {}
        self.read = 0

    def find(self, *jobs: bytes) -> Job | None:
        return next((self.jobs[job] for job in jobs if job in self.jobs), None)

    def ended(self, before: int | None, most: int) -> list[Job]:
        rows = sorted(self.jobs.values(), key=lambda job: -job.number)
        over = [job for job in rows if job.state in ENDED and (before is None or job.number < before)]
        self.read += len(over[:most])
        return over[:most]


class Broker:
    """A table, and the ledger that it is recorded in."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.table = JobTable(self.rows)
        self.dropped: list[Job] = []

    def submit(self) -> Job:
        number = self.table.last + 1
        job = Job(number.to_bytes(16, "big"), "n", "p", b"c", False, {}, b"")
        self.table.add(job)
        return job

    def end(self, job: Job) -> None:
        before, job.state = job.state, JobState.DONE
        self.table.moved(job, before)
        self.table.leave(job)

    def drop(self, job: Job) -> None:
        self.table.drop(job.id, job.state)
        self.dropped.append(job)

    def commit(self) -> None:
        self.rows.jobs.update(self.table.here)
        for job in self.dropped:
            self.rows.jobs.pop(job.id, None)
        self.table.recorded()


def pages(table: JobTable, most: int) -> list[int]:
    numbers, after = [], 0
    while True:
        jobs, after = table.page(after, most)
        numbers += [job.number for job in jobs]
        assert len(jobs) <= most
        if not after:
            return numbers


@given(st.lists(st.sampled_from(["submit", "end", "drop", "commit"]), max_size=60), st.integers(1, 7))
def test_all_jobs_are_known_wherever_they_are(steps: list[str], most: int) -> None:
    broker = Broker()
    live: list[Job] = []
    over: list[Job] = []
    for step in steps:
        if step == "submit":
            live.append(broker.submit())
        elif step == "end" and live:
            over.append(live.pop(len(live) // 2))
            broker.end(over[-1])
        elif step == "drop" and over:
            broker.drop(over.pop(0))
        elif step == "commit":
            broker.commit()
    assert all(broker.table.find(job.id) is job for job in live + over)
    assert all(broker.table.find(job.id) is None for job in broker.dropped)
    assert sorted(pages(broker.table, most)) == sorted(job.number for job in live + over)
    totals = {JobState.WAITING: len(live), JobState.DONE: len(over)}
    assert {state: broker.table.totals[state] for state in totals} == totals
    broker.commit()
    assert [*broker.table.here.values()] == live, "only jobs that are not over stay in memory"
    last_first = sorted((job.number for job in over), reverse=True)
    assert pages(broker.table, most) == [job.number for job in live] + last_first


def test_a_page_reads_a_page() -> None:
    broker = Broker()
    for _ in range(1000):
        broker.end(broker.submit())
    broker.commit()
    broker.submit()
    jobs, after = broker.table.page(0, 10)
    assert len(jobs) == 10 and broker.rows.read == 9 and after
    assert broker.table.page(0, 0) == ([], 0)


def test_a_job_that_comes_back_under_a_dropped_id_is_another() -> None:
    broker = Broker()
    job = broker.submit()
    broker.end(job)
    broker.commit()
    assert broker.table.find(job.id) is job
    broker.drop(job)
    assert broker.table.find(job.id) is None, "though the ledger still has it"
