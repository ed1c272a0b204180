"""The rows that a person sees of all jobs."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo.terminal.board import Board, one_line
from zturbo.terminal.progress import Progress


def job(number: int, state: str = "running", **more: Any) -> dict[str, Any]:
    """A status, as a broker tells it."""
    done = more.pop("done", 0)
    queued = more.pop("queued", 0)
    counts = [{"stage": "detect", "queued": queued, "running": 0, "done": done, "failed": 0}]
    status = {"id": f"{number:032x}", "name": f"clip {number}", "state": state}
    status |= {"waiting": None, "error": None}
    good = done - more.get("failed", 0)
    return {**status, "results": good, "failed": 0, "total": None, "fed": 1, "counts": counts, **more}


def texts(board: Board, height: int, now: float) -> list[str]:
    return [f"{row.name}: {row.text}" for row in board.rows(height, now)]


def test_running_jobs_come_first_and_ended_ones_are_counted() -> None:
    board = Board()
    board.update([job(0), job(1, "waiting", waiting="a free slot"), job(2)], 0.0)
    said = board.update([job(0, "done", done=5, failed=2), job(1), job(2, "failed", error="no")], 5.0)
    assert said == ["clip 0: done, 3 results, 2 failed", "clip 1: running", "clip 2: failed: no"]
    assert texts(board, 20, 7.0) == [
        "clip 1: running 7 s, 0 results",
        "detect: 0 of 0 so far",
        "2 jobs ended: 1 done, 1 failed or cancelled; 2 failed tasks",
    ]


def test_sixty_jobs_on_twenty_lines_show_what_runs() -> None:
    board = Board()
    board.update([job(n, "done") for n in range(50)], 0.0)
    board.update([job(n, "waiting", waiting="a free slot") for n in range(50, 58)], 0.0)
    jobs = [job(n, "waiting", waiting="a free slot") for n in range(50, 58)]
    board.update([*jobs, job(58), job(59)], 1.0)
    rows = texts(board, 10, 1.0)
    assert len(rows) == 10
    assert [row.split(":")[0] for row in rows[:4]] == ["clip 58", "detect", "clip 59", "detect"]
    assert rows[-2] == "and 4 more jobs: 0 running, 4 waiting"
    assert rows[-1] == "50 jobs ended: 50 done"


def test_many_jobs_that_were_done_at_once_share_a_sentence() -> None:
    board = Board()
    jobs = [job(n, "done", done=2, carries=3 * (n < 2)) for n in range(20)]
    failed = job(20, "done", done=2, failed=1)
    assert board.update([*jobs, failed], 0.0) == [
        "clip 20: done, 1 results, 1 failed",
        "24 jobs: done, 40 results",
    ]
    assert texts(board, 20, 0.0) == ["21 jobs ended: 21 done; 1 failed tasks"]


def test_many_jobs_that_wait_for_the_same_share_a_sentence() -> None:
    board = Board()
    jobs = [job(n, "waiting", waiting="its turn: a job before it") for n in range(400)]
    some = [job(n, "waiting", waiting="a worker of stage p.b") for n in range(400, 403)]
    wrong = [job(n, "failed", error="no worker") for n in range(500, 506)]
    assert board.update([job(999), *some, *jobs, *wrong], 0.0) == [
        "clip 999: running",
        *(f"clip {n}: waits for a worker of stage p.b" for n in range(400, 403)),
        "clip 0 and 399 other jobs: wait for their turn: a job before it",
        "clip 500 and 5 other jobs: failed: no worker",
    ]
    assert board.update([job(999), *some, *jobs], 1.0) == []


def test_a_job_that_its_client_let_go_of_has_ended() -> None:
    board = Board()
    board.update([job(1, done=3)], 0.0)
    assert board.update([], 1.0) == ["clip 1: done, 3 results"]
    assert texts(board, 5, 1.0) == ["1 job ended: 1 done"]
    assert board.update([job(1, done=3)], 2.0) == [], "an answer that was late"


def test_what_a_system_knows_comes_before_the_brokers_word() -> None:
    board = Board()
    board.update([job(1, done=3)], 0.0)
    known = {"success": True, "results": 3, "failed": 1}
    assert board.ended(job(1)["id"], "clip 1", **known) == ["clip 1: done, 3 results, 1 failed"]
    assert board.ended(job(1)["id"], "clip 1", **known) == []
    board.update([job(1, done=3)], 1.0)
    assert texts(board, 5, 1.0) == ["1 job ended: 1 done; 1 failed tasks"]


def test_declared_totals_are_told_apart_and_give_the_time_left() -> None:
    board = Board()
    board.update([job(1, done=0, queued=3, total=100)], 0.0)
    board.update([job(1, done=20, queued=3, total=100)], 2.0)
    assert texts(board, 5, 2.0)[1] == "detect: 20 of 100, 10/s, 8 s left"
    other = Board()
    other.update([job(1, done=0, queued=3)], 0.0)
    other.update([job(1, done=1, queued=3)], 2.0)
    assert texts(other, 5, 2.0)[1] == "detect: 1 of 4 so far, 0.5/s"
    assert [row.share for row in other.rows(5, 2.0)] == [None, 0.25]


def test_a_rate_is_of_the_last_seconds() -> None:
    board = Board()
    for second in range(40):
        board.update([job(1, done=second * 2 if second < 20 else 40)], float(second))
    assert texts(board, 5, 39.0)[1] == "detect: 40 of 40 so far"


def test_no_name_moves_the_cursor() -> None:
    assert one_line("a\x1b[2J\nb\r[/x]") == "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b" + (
        "\N{REPLACEMENT CHARACTER}[/x]"
    )
    assert len(one_line("x" * 1000)) == 40


@pytest.mark.parametrize("name", ["[/bold]", "[/...]", "x\x1b[2Jy", "caf\udce9", "two\nlines"])
def test_any_name_is_shown_and_steers_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.update([{**job(1), "name": name}])
    progress.update([{**job(1, "done"), "name": name}])
    progress.close()
    assert capsys.readouterr().err == f"{one_line(name)}: running\n{one_line(name)}: done, 0 results\n"
    assert one_line(name).isprintable() and one_line(name).encode()


def test_no_reason_steers_the_display(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "no\x1b[2J\nnext [/x] \udce9"
    progress = Progress()
    progress.update([job(1, "waiting", waiting=bad), job(2, waiting=bad)])
    progress.update([job(1, "failed", error=bad), job(2, "failed", error=bad)])
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.isprintable() and line.encode() for line in lines), lines
    board = Board()
    board.update([job(1, "waiting", waiting=bad), job(2, waiting=bad)], 0.0)
    assert all(row.text.isprintable() for row in board.rows(10, 0.0))
