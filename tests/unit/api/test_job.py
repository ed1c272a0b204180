"""A job: its id is made when it is asked for, and stays."""

from __future__ import annotations

import copy
import pickle

from zturbo import Job, Task


def test_a_job_gets_its_id_when_it_is_asked_for_and_copies_have_the_same() -> None:
    job = Job("n", Task(1))
    assert not job.has_id
    assert len({job.id, job.id, copy.copy(job).id, pickle.loads(pickle.dumps(job)).id}) == 1 and job.has_id
    other = Job("n", Task(1))
    assert copy.copy(other).id == other.id != job.id
    before = job.id
    job.begin()
    assert not job.has_id and job.id != before
    job.id = before
    assert job.id == before
