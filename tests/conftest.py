"""Long files come first, so that none is left to run alone at the end.

Skips fail the run where everything that tests need was installed: with ``ZTURBO_NO_SKIPS=1``, as in CI. The
exception is a test of something too large to install for it, whose reason begins with ``NOT TESTED``: it is
named at the end.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support")

# A host that is busy with something else must not fail a test.
settings.register_profile("no time limits", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no time limits")

LONG = (
    "tests/sim/test_world.py",
    "tests/lab/test_short.py",
    "tests/video/test_video.py",
    "tests/system/faults/test_broker.py",
    "tests/system/faults/test_sink.py",
    "tests/docs/test_blocks.py",
    "tests/system/test_ledger.py",
    "tests/system/faults/test_clock.py",
    "tests/system/faults/test_worker_stopped.py",
    "tests/system/faults/test_network.py",
    "tests/system/test_jobs.py",
    "tests/system/test_deeds.py",
    "tests/system/faults/test_task.py",
    "tests/system/faults/test_worker.py",
    "tests/system/faults/test_client.py",
    "tests/system/faults/test_broker_away.py",
)
"""Files that take a minute or more, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The others stay in their order."""
    place = {name: at for at, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.nodeid.split("::")[0], len(LONG)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The controller has the reports of all workers."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("ZTURBO_NO_SKIPS") != "1":
        return
    reports = reporter.stats.get("skipped", [])
    skipped = [report for report in reports if "NOT TESTED" not in str(report.longrepr)]
    for report in reports:
        if report not in skipped:
            reporter.write_line(f"{report.nodeid}: {report.longrepr[2]}", yellow=True)
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"ZTURBO_NO_SKIPS: {len(skipped)} tests were skipped, which is a failure here")
