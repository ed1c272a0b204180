"""A job that is submitted again is the same job only if all of it is the same."""

from __future__ import annotations

import numpy as np
import pytest

from zturbo.api.task import Job, Task
from zturbo.client.submissions import LARGE, Submissions
from zturbo.wire.codes import OUT_OF_BAND


@pytest.mark.parametrize("nbytes", [100, LARGE, 1 << 20])
@pytest.mark.parametrize("where", [0, -1])
def test_another_content_gives_another_digest(nbytes: int, where: int) -> None:
    submissions = Submissions({"pipelines": ("p",), "max_task_bytes": {}})
    job, content = Job("clip", Task(b"")), bytearray(nbytes)
    digests = set()
    for value in (0, 1, 0):
        content[where] = value
        job.task.content = bytes(content)
        digests.add(submissions.job(job, "p", {}).new.digest)
    job.task.content += b"\0"
    digests.add(submissions.job(job, "p", {}).new.digest)
    assert len(digests) == 3, "one for each content"


def test_bytes_that_move_from_one_part_to_another_give_another_digest() -> None:
    submissions = Submissions({"pipelines": ("p",), "max_task_bytes": {}})
    job = Job("clip", Task(None))
    digests = set()
    for sizes in ((OUT_OF_BAND, OUT_OF_BAND + 8), (OUT_OF_BAND + 8, OUT_OF_BAND)):
        job.task.content = [np.zeros(size, np.uint8) for size in sizes]
        digests.add(submissions.job(job, "p", {}).new.digest)
    assert len(digests) == 2
