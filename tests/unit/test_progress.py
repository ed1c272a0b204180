"""What the progress display shows of jobs, on a terminal and elsewhere."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from zturbo.progress import Progress


def _job(state: str, name: str = "job", **other: Any) -> dict[str, Any]:
    job = {"id": "1", "name": name, "state": state, "waiting": "", "failed": 0, "error": ""}
    return {**job, "stages": ["a"], "done": [1], "results": 1, "fed": 1, **other}


@pytest.mark.parametrize("tty", [True, False])
@pytest.mark.parametrize("name", ["[/bold]", "[/...]", "x\x1b[2Jy", "caf\udce9", "two\nlines"])
def test_any_name_is_shown_and_steers_nothing(
    name: str, tty: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: tty)
    progress = Progress()
    progress.update([_job("running", name)])
    progress.update([_job("done", name)])
    progress.close()
    told = capsys.readouterr().err
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    assert f"{shown}: done\n" in told
    assert "\x1b[2Jy" not in told


def test_a_job_that_ended_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress()
    try:
        progress.update([_job("running")])
        assert len(progress._bars.tasks) == 2
        progress.update([_job("done")])
        assert not progress._bars.tasks
    finally:
        progress.close()
