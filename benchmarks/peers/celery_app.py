"""The tasks of Celery's workers: one for each step; all but the last of a chain keep no result."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from benchmarks.steps import STEPS

__all__ = ["app", "environment", "point_to", "signature"]

URL = "ZTURBO_BENCHMARK_REDIS"
"""Environment variable that tells the workers where Redis is."""

app = Celery("benchmarks")
app.conf.update(
    accept_content=["json", "pickle"],
    task_serializer="pickle",
    result_accept_content=["json", "pickle"],
    result_serializer="pickle",
    worker_prefetch_multiplier=16,
    broker_connection_retry_on_startup=True,
    task_track_started=False,
    result_expires=600,
)


def point_to(url: str) -> None:
    """Use this Redis."""
    app.conf.update(broker_url=url, result_backend=url)


def environment(url: str) -> dict[str, str]:
    """Of the workers; Celery refuses pickle as root without the second."""
    return {**os.environ, URL: url, "C_FORCE_ROOT": "1"}


def signature(step: str, last: bool) -> Any:
    """A call of a step in a chain."""
    return TASKS[step].s().set(ignore_result=not last)


if URL in os.environ:
    point_to(os.environ[URL])
TASKS = {name: app.task(name=f"benchmarks.{name}")(step) for name, step in STEPS.items()}
