"""The screen of all stages: it fits a small terminal, and names what limits a pipeline."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, Group

from tests.unit.telemetry.reports import member, telemetry
from zturbo.terminal.top import Look, as_map, jobs_shown, screen

TOLD = telemetry(
    member(0, code=0.2, held=0.8, rate=29, pending=400),
    member(1, code=0.9, own=0.07, rate=29, waiting=12),
    member(2, code=0.5, rate=29),
    wanted=(1, 2, 1),
)


def job(number: int, state: str, **more: Any) -> dict[str, Any]:
    fields = {
        "name": f"job {number}",
        "pipeline": "p",
        "waiting": None,
        "error": None,
        "results": 3,
        "failed": 0,
        "incidents": (),
    }
    return {"id": f"{number:032}", "number": number, "state": state, "counts": (), **fields, **more}


JOBS = {
    "jobs": [job(1, "done"), job(2, "running", name="\x1b[31mred\n"), job(3, "done", failed=2)],
    "totals": {"running": 1, "done": 2},
    "trouble": None,
    "pipelines": [{"name": "p", "problems": {}}],
    "clock": 1000.0,
}


def shown(
    height: int = 24,
    look: Look | None = None,
    jobs: dict[str, Any] = JOBS,
    told: dict[str, Any] = TOLD,
) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=80, height=height, force_terminal=False)
    console.print(Group(*screen(told, jobs, look or Look(), height=height, title="zturbo top")))
    return out.getvalue().splitlines()


def test_it_fits_into_80_columns_and_24_rows() -> None:
    many = {**JOBS, "jobs": [job(n, "running") for n in range(100)]}
    lines = shown(jobs=many)
    assert max(map(len, lines)) <= 80 and len(lines) <= 22
    assert not [line for line in lines[:9] if "…" in line]


def test_long_names_of_stages_make_no_column_of_jobs_narrower() -> None:
    counts = [{"stage": "a" * 40, "done": 10**6}] * 3
    many = {**JOBS, "jobs": [job(n, "running", counts=counts) for n in range(100)]}
    lines = shown(jobs=many)
    (head,) = [line for line in lines if "JOB" in line]
    assert head.split() == ["JOB", "NAME", "STATE", "RESULTS", "FAILED"]
    assert len([line for line in lines if line.strip().startswith("0" * 12)]) >= 5
    assert max(map(len, lines)) <= 80 and len(lines) <= 22


def test_what_went_wrong_lately_is_shown_once() -> None:
    died = ("p.a (process 1 on h) died: SIGKILL", "p.b (process 2 on h) died: SIGSEGV")
    jobs = [job(1, "running", incidents=died), job(2, "running", incidents=(died[1], "x\x1b[31m" * 99))]
    many = {**JOBS, "jobs": [*jobs, *(job(n, "done", incidents=("of old",)) for n in range(3, 100))]}
    lines = shown(jobs=many)
    wrong = lines[next(i for i, line in enumerate(lines) if "INCIDENTS" in line) + 1 :]
    assert [line.split(" ", 3)[3][:8] for line in wrong[:2]] == ["p.a (pro", "p.b (pro"] and len(wrong) == 3
    assert "of old" not in "".join(lines) and max(map(len, lines)) <= 80 and len(lines) <= 22
    assert not [line for line in shown() if "INCIDENTS" in line]


def test_hosts_with_gpus_have_a_line_more() -> None:
    assert not [line for line in shown() if "GPU" in line], "there is none"
    one = {
        "index": 0,
        "uuid": "",
        "name": "NVIDIA A100-SXM4-80GB",
        "load": 97,
        "used": 10**10,
        "total": 8 * 10**10,
    }
    some = [{**one, "index": i, "load": None if i == 3 else 90 if i == 4 else 100} for i in range(10)]
    told = {**TOLD, "gpus": {"h": some, "elsewhere": [one]}}
    lines = shown(told=told)
    (line,) = [line for line in lines if "NVIDIA" in line]
    assert "10 x NVIDIA A100" in line and "  99 (90 to 100)  100 GB of 800 GB" in line
    assert len(line) <= 80 and "GPU MEMORY" in " ".join(lines)
    mixed = shown(told={**TOLD, "gpus": {"h": [one, {**one, "name": "other", "load": None}]}})
    (line,) = [line for line in mixed if "several" in line]
    assert line.split() == "h 2 x several kinds 97 20 GB of 160 GB".split()
    unknown = shown(told={**TOLD, "gpus": {"h": [{**one, "load": None, "used": 0, "total": 0}]}})
    assert [line.split()[-2:] for line in unknown if "NVIDIA" in line] == [["-", "-"]]
    assert as_map(told, JOBS)["hosts"][0]["gpus"] == some and as_map(TOLD, JOBS)["hosts"][0]["gpus"] == []


def test_hosts_have_their_traffic_and_shared_memory() -> None:
    (line,) = [line for line in shown() if line.startswith("h ")]
    assert line.split() == [
        "h",
        *"30 % of 8 cores".split(),
        "3.0",
        "kB",
        "600",
        "B",
        "5.0",
        "kB/s",
        "3.0",
        "kB/s",
        "3",
    ]


def test_it_marks_the_stage_that_limits_and_says_what_to_do() -> None:
    text = "\n".join(shown())
    assert "p  b: 97 % busy, 412 wait in front of it; 1 more of its workers are starting" in text
    (line,) = [line for line in text.splitlines() if line.startswith("> b")]
    assert "CCCCCCCCCCC" in line and "97%" in line and "412" in line


def test_a_stage_that_does_not_start_is_named_with_the_reason() -> None:
    why = "p.b: nosuch:Thing: cannot import nosuch\x1b[2J"
    broken = {**JOBS, "pipelines": [{"name": "p", "problems": {"b": why}}]}
    without = telemetry(member(0), member(2))
    text = "\n".join(shown(jobs=broken, told=without))
    assert "p  b does not start: p.b: nosuch:Thing: cannot import nosuch" in text and "\x1b" not in text
    assert as_map(without, broken)["pipelines"][0]["bottleneck"]["stage"] == "b"
    assert "does not start" not in "".join(shown(jobs=broken)), "other workers of the stage run"


def test_names_of_jobs_steer_no_terminal() -> None:
    assert not [line for line in shown() if "\x1b" in line]


def test_an_opened_job_is_shown_in_detail() -> None:
    counts = [{"stage": "a\x1b", "queued": 7, "running": 1, "done": 123, "failed": 0}]
    one = job(2, "running", name="clip", counts=counts, incidents=[f"lost {n}" for n in range(90)])
    jobs = {**JOBS, "jobs": [one, job(3, "done")]}
    lines = shown(look=Look(selected=one["id"], opened=True), jobs=jobs)
    text = "\n".join(lines)
    assert "job 000000000000  clip  running" in text and "pipeline p, 3 results, 0 failed tasks" in text
    assert [line.split()[-4:] for line in lines if "123" in line] == [["7", "1", "123", "0"]]
    assert "lost 89" in lines[-1] and "lost 0" not in text and "job 3" not in text and "\x1b" not in text
    assert max(map(len, lines)) <= 80 and len(lines) <= 22
    waits = {**one, "waiting": "a worker", "error": "a fault", "incidents": []}
    text = "\n".join(shown(look=Look(selected=one["id"], opened=True), jobs={**JOBS, "jobs": [waits]}))
    assert "waits for a worker" in text and "a fault" in text


def test_jobs_are_sorted_and_filtered() -> None:
    jobs = JOBS["jobs"]
    assert [one["number"] for one in jobs_shown(jobs, Look())] == [2, 3, 1]  # type: ignore[arg-type]
    assert [one["number"] for one in jobs_shown(jobs, Look(sort="failed"))] == [3, 2, 1]  # type: ignore[arg-type]
    assert [one["number"] for one in jobs_shown(jobs, Look(words="DONE job"))] == [3, 1]  # type: ignore[arg-type]


def test_programs_get_the_same() -> None:
    found = as_map(TOLD, JOBS)
    assert found["pipelines"][0]["bottleneck"]["stage"] == "b"
    assert [stage["waiting"] for stage in found["pipelines"][0]["stages"]] == [0, 412, 0]
    (host,) = found["hosts"]
    some = {"memory": 3000, "shared": 600, "received": 5000, "sent": 3000}
    assert host == {"host": "h", "cpu": 0.3, "cores": 8, "processes": 3, "gpus": [], **some}
