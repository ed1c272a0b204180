"""Skips fail the run where everything that tests need was installed: with ``ZTURBO_NO_SKIPS=1``, as in CI."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The controller has the reports of all workers."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("ZTURBO_NO_SKIPS") != "1":
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"ZTURBO_NO_SKIPS: {len(skipped)} tests were skipped, which is a failure here")
