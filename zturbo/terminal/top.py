"""The screen of ``zturbo top``: pipelines with their stages, hosts, jobs, and what limits each pipeline.

Pure: it takes what a client has asked, and gives lines of text. It fits into 80 columns and 24 rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zturbo.errortext import how_many
from zturbo.jobstates import ENDED, LIVE, title_of
from zturbo.slotted import slotted
from zturbo.telemetry.bottleneck import bottleneck, per_second, shown_time
from zturbo.telemetry.flow import HostFlow, PipelineFlow, StageFlow, by_host, by_pipeline
from zturbo.terminal.board import one_line

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["SORTS", "Look", "as_map", "job_details", "jobs_shown", "screen", "shown_bytes", "stage_table"]

SORTS = ("newest", "state", "failed", "name")
"""Orders of jobs that a key goes through."""

BARS = (("code", "green"), ("input", "blue"), ("held", "yellow"), ("own", "magenta"))
"""Parts of a worker's time, and their colours."""

BAR = 12
"""Columns of the bar that shows them."""

HEADS = (
    *(("STAGE", 12), ("BUSY", 4), ("IDLE", 4), ("START", 5), ("WANT", 4)),
    *(("WAITING", 7), ("RATE", 7), ("P50", 6), ("P99", 6), ("", 16)),
)
"""Columns of the stages, and their widths."""

HOST_NAME = 18
"""Characters of a host's name that are shown: so its line fits into 80."""

GPU_NAME = 16
"""Characters of a GPU's name that are shown."""

INCIDENTS = 3
"""What went wrong for jobs that are not over: so many sentences are shown."""

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@slotted
class Look:
    """What a person has chosen to see."""

    sort: str = SORTS[0]
    words: str = ""
    """Only jobs whose name, pipeline or state has these are shown."""
    selected: str = ""
    """Id of the job to which keys apply."""
    opened: bool = False
    """Whether this job is shown in detail, in place of the list."""
    typing: bool = False
    """Whether keys go to ``words``."""
    note: str = ""
    """A question, or what became of the last key."""


def as_map(telemetry: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """All that the screen shows, for programs."""
    hosts, problems = by_host(telemetry), _problems(description)
    return {
        "pipelines": [
            {
                "pipeline": flow.name,
                "bottleneck": bottleneck(flow, hosts, problems.get(flow.name, {}))._asdict(),
                "problems": problems.get(flow.name, {}),
                "unread": flow.unread,
                "stages": [stage.as_map() for stage in flow.stages],
            }
            for flow in by_pipeline(telemetry)
        ],
        "hosts": [
            {
                "host": host.name,
                "cpu": round(host.cpu, 3),
                "cores": host.cores,
                "memory": host.memory,
                "shared": host.shared,
                "received": round(host.received),
                "sent": round(host.sent),
                "processes": host.processes,
                "gpus": host.gpus,
            }
            for host in hosts
        ],
        "jobs": description["jobs"],
        "totals": description["totals"],
        "trouble": description["trouble"],
        "clock": description["clock"],
    }


def _problems(description: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Pipeline -> stage -> why its workers do not start."""
    return {pipeline["name"]: pipeline["problems"] for pipeline in description["pipelines"]}


def jobs_shown(jobs: list[dict[str, Any]], look: Look) -> list[dict[str, Any]]:
    """The jobs that match, in the order that was chosen; those that have ended come last."""
    words = look.words.lower().split()
    some = [
        job
        for job in jobs
        if all(
            word in f"{job['name']} {job['pipeline']} {job['state']} {job['id']}".lower() for word in words
        )
    ]
    keys: dict[str, Any] = {
        "newest": lambda job: (job["state"] in ENDED, -job["number"]),
        "state": lambda job: (job["state"] in ENDED, job["state"], -job["number"]),
        "failed": lambda job: (-job["failed"], job["state"] in ENDED, -job["number"]),
        "name": lambda job: (job["state"] in ENDED, job["name"], -job["number"]),
    }
    return sorted(some, key=keys[look.sort])


def screen(
    telemetry: dict[str, Any], description: dict[str, Any], look: Look, *, height: int, title: str
) -> list[Text | Table]:
    """The screen, as parts that are printed one below the other.

    Args:
        telemetry: as :meth:`zturbo.Client.telemetry` gives it.
        description: as :meth:`zturbo.Client.describe` gives it.
        look: what a person has chosen.
        height: rows of the terminal; 0 for any number.
        title: what the first line begins with.
    """
    from rich.text import Text

    hosts, flows, problems = by_host(telemetry), by_pipeline(telemetry), _problems(description)
    totals = description["totals"]
    live = sum(totals.get(state, 0) for state in LIVE)
    over = sum(totals.get(state, 0) for state in ENDED)
    processes = len(telemetry["members"])
    head = f"{title}  {how_many(processes, 'process', 'processes')}, {how_many(live, 'job')}, {over} ended"
    parts: list[Text | Table] = [Text(head, style="bold", no_wrap=True, overflow="ellipsis")]
    if description["trouble"]:
        parts.append(Text(f"the broker waits: {one_line(description['trouble'], 300)}", style="red"))
    rows = 1
    for flow in flows:
        verdict = bottleneck(flow, hosts, problems.get(flow.name, {}))
        told = (one_line(verdict.text, 300), "bold yellow")
        sentence = Text.assemble((f"{one_line(flow.name)}  ", "bold"), told)
        parts += [Text(""), sentence, stage_table(flow, verdict.stage)]
        rows += 5 + len(flow.stages)
    parts += [Text(""), host_table(hosts)]
    rows += 2 + len(hosts)
    if equipped := [host for host in hosts if host.gpus]:
        parts += [Text(""), gpu_table(equipped)]
        rows += 2 + len(equipped)
    jobs = jobs_shown(description["jobs"], look)
    if look.opened and (job := next((one for one in jobs if one["id"] == look.selected), None)):
        return [*parts, Text(""), *job_details(job, max(3, height - rows - 8) if height else 20)]
    incidents = latest_incidents(description["jobs"])
    rows += 2 + len(incidents) if incidents else 0
    room = max(3, height - rows - 4) if height else len(jobs)
    if jobs or look.words:
        parts += [Text(""), job_table(jobs[:room], look)]
    if incidents:
        parts += [Text(""), Text("  INCIDENTS", style="dim"), *incidents]
    return parts


def latest_incidents(jobs: list[dict[str, Any]]) -> list[Text]:
    """What went wrong last for jobs that are not over: each sentence once, with the first job that has it."""
    from rich.text import Text

    found: dict[str, dict[str, Any]] = {}
    for job in jobs:
        if job["state"] in LIVE:
            for text in job["incidents"][-INCIDENTS:]:
                found.setdefault(text, job)
    return [
        Text(f"  {job['id'][:12]} {one_line(text, 300)}", style="yellow", no_wrap=True, overflow="ellipsis")
        for text, job in list(found.items())[-INCIDENTS:]
    ]


def stage_table(flow: PipelineFlow, limit: str | None) -> Table:
    """The stages of a pipeline; ``limit`` is the one that limits it."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for head, width in HEADS:
        table.add_column(justify="left" if head == "STAGE" else "right", no_wrap=True, width=width)
    legend = Text(" ").join(Text(name.replace("input", "in"), style=colour) for name, colour in BARS)
    table.add_row(*(Text(head, style="dim") for head, _ in HEADS[:-1]), legend)
    for stage in flow.stages:
        here = stage.name == limit
        style = "bold yellow" if here else ""
        table.add_row(
            Text(f"{'>' if here else ' '} {one_line(stage.name, 10)}", style=style),
            str(stage.busy),
            str(len(stage.workers) - stage.busy),
            str(stage.starting),
            str(stage.wanted),
            Text(str(stage.waiting), style=style),
            per_second(stage.rate),
            shown_time(stage.quantile(0.5)),
            shown_time(stage.quantile(0.99)),
            _bar(stage),
        )
    return table


def _bar(stage: StageFlow) -> Text:
    """Shares of time, as a bar of coloured letters, so that it says the same without colours."""
    from rich.text import Text

    bar, end, reached = Text(), 0, 0.0
    for (name, colour), share in zip(BARS, stage.shares, strict=True):
        reached += share
        begin, end = end, round(BAR * reached)
        bar.append(name[0].upper() * (end - begin), style=colour)
    bar.append(" " * (BAR - end) + f"{round(100 * stage.load):3}%")
    return bar


def host_table(hosts: list[HostFlow]) -> Table:
    """The hosts with their CPU, memory, what their processes have in shared memory, and their traffic."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    heads = ("HOST", "CPU", "MEMORY", "SHARED", "NET IN", "NET OUT", "PROCESSES")
    table.add_row(*(Text(head, style="dim") for head in heads))
    for host in hosts:
        table.add_row(
            one_line(host.name, HOST_NAME),
            Text(f"{100 * host.cpu:.0f} % of {host.cores} cores", style="yellow" if host.full else ""),
            shown_bytes(host.memory),
            shown_bytes(host.shared) if host.shared else "-",
            *(f"{shown_bytes(round(rate))}/s" if rate else "-" for rate in (host.received, host.sent)),
            str(host.processes),
        )
    return table


def gpu_table(hosts: list[HostFlow]) -> Table:
    """The GPUs of the hosts that have some: how many, their load, and the memory of all.

    The load is that of the only one, or the mean, with the least and the greatest.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_row(*(Text(head, style="dim") for head in ("HOST", "GPUS", "LOAD, %", "GPU MEMORY")))
    for host in hosts:
        loads = [gpu["load"] for gpu in host.gpus if gpu["load"] is not None]
        mean = f"{sum(loads) / len(loads):.0f}" if loads else "-"
        used, total = (sum(gpu[what] for gpu in host.gpus) for what in ("used", "total"))
        kinds = {one_line(gpu["name"], GPU_NAME) for gpu in host.gpus}
        table.add_row(
            one_line(host.name, HOST_NAME),
            f"{len(host.gpus)} x {kinds.pop() if len(kinds) == 1 else 'several kinds'}",
            f"{mean} ({min(loads)} to {max(loads)})" if len(loads) > 1 else mean,
            f"{shown_bytes(used)} of {shown_bytes(total)}" if total else "-",
        )
    return table


def job_table(jobs: list[dict[str, Any]], look: Look) -> Table:
    """The jobs: how far each is, or what it waits for."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for width in (14, 14, 9, 7, 6, None):
        # the last one takes what is left: if it could not wrap, the others would become narrower
        table.add_column(
            no_wrap=width is not None, overflow="ellipsis", width=width, ratio=None if width else 1
        )
    heads = ("  JOB", "NAME", "STATE", "RESULTS", "FAILED", "")
    table.add_row(*(Text(head, style="dim") for head in heads))
    for job in jobs:
        chosen = job["id"] == look.selected
        table.add_row(
            Text(f"{'>' if chosen else ' '} {job['id'][:12]}"),
            Text(one_line(title_of(job), 14)),
            job["state"],
            str(job["results"]),
            Text(str(job["failed"]), style="red" if job["failed"] else ""),
            Text(_about(job), no_wrap=True, overflow="ellipsis"),
            style="reverse" if chosen else "",
        )
    return table


def job_details(job: dict[str, Any], room: int) -> list[Text | Table]:
    """One job: its state, its tasks at each stage, what it waits for, what went wrong.

    Args:
        job: as :meth:`zturbo.Client.describe` gives it.
        room: lines for incidents; the last ones are shown.
    """
    from rich.table import Table
    from rich.text import Text

    head = f"job {job['id'][:12]}  {one_line(title_of(job), 40)}  {job['state']}"
    told = f"pipeline {one_line(job['pipeline'])}, {job['results']} results, {job['failed']} failed tasks"
    parts: list[Text | Table] = [Text(head, style="bold", no_wrap=True, overflow="ellipsis"), Text(told)]
    if job["waiting"]:
        parts.append(Text(f"waits for {one_line(job['waiting'], 300)}", style="yellow"))
    if job["error"]:
        parts.append(Text(one_line(job["error"], 300), style="red"))
    table = Table.grid(padding=(0, 2))
    for head in ("STAGE", "QUEUED", "RUNNING", "DONE", "FAILED"):
        table.add_column(justify="left" if head == "STAGE" else "right", no_wrap=True)
    table.add_row(*(Text(head, style="dim") for head in ("STAGE", "QUEUED", "RUNNING", "DONE", "FAILED")))
    for count in job["counts"]:
        numbers = (str(count[what]) for what in ("queued", "running", "done", "failed"))
        table.add_row(one_line(count["stage"], 24), *numbers)
    parts.append(table)
    parts += [Text(one_line(text), no_wrap=True, overflow="ellipsis") for text in job["incidents"][-room:]]
    return parts


def _about(job: dict[str, Any]) -> str:
    if job["waiting"]:
        return f"waits for {one_line(job['waiting'], 300)}"
    if job["error"]:
        return one_line(job["error"], 300)
    if job["state"] != "running":
        return ""
    return " > ".join(f"{one_line(count['stage'], 12)} {count['done']}" for count in job["counts"])


def shown_bytes(n: int) -> str:
    """Bytes, in few characters."""
    for size, unit in UNITS:
        if n >= size:
            return f"{n / size:.1f} {unit}" if n < 10 * size else f"{n / size:.0f} {unit}"
    return f"{n} B"
