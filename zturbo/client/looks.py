"""Looks at processes, through the broker and their nodes: what they do now, or have done lately."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from zturbo.checks import did_you_mean
from zturbo.client.connection import Connection
from zturbo.errors import DecodeError, UsageError, ZturboError
from zturbo.telemetry.chrome import Track, document
from zturbo.telemetry.ring import read_records
from zturbo.telemetry.seen import Traces, Unreadable, Where, read_traces
from zturbo.telemetry.stacks import Frame, Stack, coroutines, main_stack, of_code, parse
from zturbo.wire.control import answers, to_broker

__all__ = ["look", "pick_processes", "stack_map", "trace", "tracks"]

AT_ONCE = 64
"""Questions on the way at a time: an answer may have some megabytes."""

SLACK = 15.0
"""Seconds that an answer may take beyond those for which a process is looked at."""

Read = TypeVar("Read")


class _Client(Protocol):
    """What a trace needs of a client."""

    connection: Connection

    def telemetry(self) -> dict[str, Any]: ...

    def logs(self) -> list[dict[str, Any]]: ...

    def describe(self, *, most: int) -> dict[str, Any]: ...


def pick_processes(
    processes: Sequence[answers.Process],
    what: str | None,
    stages: Callable[[], Iterable[str]] = lambda: (),
) -> list[answers.Process]:
    """The workers, or those processes that a person names.

    Args:
        processes: as the broker tells of them.
        what: ``PIPELINE.STAGE``, or ``STAGE`` alone; a process id, ``HOST:PID``, or the first digits of an
            incarnation; ``sink``. None for all workers.
        stages: gives ``PIPELINE.STAGE`` of all stages, with workers or not, if there is no such process.

    Raises:
        UsageError: there is no such stage and no such process, or the stage has no worker now.
    """
    members = [one for one in processes if one.name != "broker"]
    workers = [one for one in members if not one.name.startswith("sink")]
    if what is None:
        return workers
    found = [one for one in members if one.name == what]
    found = found or [one for one in workers if one.name.rpartition(".")[2] == what]
    found = found or [one for one in members if what in (str(one.pid), f"{one.host}:{one.pid}") and one.pid]
    if not found and len(what) >= 4:
        found = [one for one in members if one.incarnation.hex().startswith(what.lower())]
    if found:
        return found
    all_stages = {*stages()}
    for stage in sorted(all_stages):
        if what in (stage, stage.rpartition(".")[2]):
            raise UsageError(f"{stage} has no worker now; 'zturbo jobs' shows why, if none can start or join")
    if not members:
        raise UsageError(
            f"no worker runs, so there is no {what!r}; 'zturbo jobs' shows why workers do not start"
        )
    names = sorted(all_stages.union(one.name for one in members))
    hint = did_you_mean(what, names)
    raise UsageError(
        f"no process of that name: {hint}. Name a stage, a process id, HOST:PID, or the first digits of an "
        "incarnation, as 'zturbo hosts' and 'zturbo top' show them"
    )


def look(
    connection: Connection,
    targets: Sequence[bytes],
    kind: to_broker.Looking,
    seconds: int,
    read: Callable[[bytes], Read],
    of: bytes | None = None,
) -> list[Read | ZturboError]:
    """Look at all of these processes at the same time.

    Args:
        connection: to the broker.
        targets: incarnations of the processes at which to look.
        kind: what to look at.
        seconds: for which, or how far back.
        read: makes a value of an answer; raises Unreadable.
        of: the member whose ports their hosts are to look at, for ``reach``.

    Returns:
        For each process, in order, the value, or the reason why there is none.
    """
    connection.check_process()
    takes = seconds if kind == "profile" else 0
    asked: list[Future[answers.Seen]] = []
    found: list[Read | ZturboError] = []
    for at, target in enumerate(targets):
        if at >= AT_ONCE and kind != "profile":  # profiles are to be of the same seconds
            found.append(_taken(asked[at - AT_ONCE], read))
        question = to_broker.Look(target=target, kind=kind, seconds=seconds, of=of)
        asked.append(connection.io.ask(question, timeout=takes + max(connection.timeout, SLACK)))
    found += [_taken(one, read) for one in asked[len(found) :]]
    return found


def _taken(asked: Future[answers.Seen], read: Callable[[bytes], Read]) -> Read | ZturboError:
    try:
        return read(asked.result().data)
    except ZturboError as error:
        return error
    except Unreadable as error:
        return DecodeError(f"its node's answer cannot be read ({error}): do both ends have one version?")


def stack_map(process: answers.Process, found: Where | ZturboError) -> dict[str, Any]:
    """What a process does, as ``Client.stacks()`` gives it."""
    told: dict[str, Any] = {
        "name": process.name,
        "host": process.host,
        "pid": process.pid,
        "incarnation": process.incarnation.hex(),
        "tasks": [],
        "frames": [],
        "threads": [],
        "note": "",
    }
    if isinstance(found, ZturboError):
        told["note"] = str(found)
        return told
    stacks = parse(found.text)
    main = main_stack(stacks)
    waiting = coroutines(found.text)
    told["tasks"] = [
        {
            "job": task.job.hex(),
            "epoch": task.epoch,
            "path": list(task.path),
            "given": task.given,
            "seconds": task.seconds,
            "frames": _frames(of_code(waiting.get((task.job, task.path), ()))),
        }
        for task in found.tasks
    ]
    told["frames"] = _frames(of_code(main.frames)) if main is not None else []
    told["threads"] = [_thread(stack) for stack in reversed(stacks)]
    told["note"] = found.note
    return told


def _tracks_of(process: answers.Process, place: tuple[str, int] | None, traces: Traces) -> list[Track]:
    """The tracks of a worker, and of the one that died before it at its place.

    Args:
        process: the worker.
        place: its pipeline, and the index of its stage; None if that is not known.
        traces: what its node tells.
    """
    pipeline, stage = place or (process.name.partition(".")[0], 0)
    return [
        Track(
            pipeline=pipeline,
            stage=stage,
            name=process.name,
            host=process.host,
            pid=one.pid,
            records=list(read_records(one.raw)),
            offset=traces.wall - traces.clock,
            died=one.died,
            how=one.how,
            running=[(task.job, task.path, task.seconds) for task in one.tasks],
            until=traces.wall,
        )
        for one in traces.processes
    ]


def tracks(client: _Client, last: float) -> tuple[list[Track], float]:
    """What all workers did in the last so many seconds and shortly before; and the broker's wall time."""
    members = client.connection.ask(to_broker.Members())
    processes = pick_processes(members.processes, None)
    stages = {one["incarnation"]: (one["pipeline"], one["stage"]) for one in client.telemetry()["members"]}
    seconds = math.ceil(last) + 1 if last < to_broker.MAX_SECONDS else 0
    found = look(client.connection, [one.incarnation for one in processes], "trace", seconds, read_traces)
    out = [
        track
        for process, traces in zip(processes, found, strict=True)
        if not isinstance(traces, ZturboError)
        for track in _tracks_of(process, stages.get(process.incarnation.hex()), traces)
    ]
    return out, members.clock


def trace(client: _Client, job: bytes | None, last: float) -> dict[str, Any]:
    """What all workers did in the last so many seconds, with the code of one job alone if it is named."""
    found, clock = tracks(client, last)
    events = [line for line in client.logs() if line["level"] != "INFO" or "starts over" in line["text"]]
    events = [line for line in events if not line["pid"]]  # of the broker, whose clock they have
    names = {bytes.fromhex(one["id"]): one["name"] for one in client.describe(most=1000)["jobs"]}
    return document(found, events=events, since=clock - last, job=job, names=names)


def _thread(stack: Stack) -> dict[str, Any]:
    return {"thread": stack.thread, "frames": _frames(stack.frames)}


def _frames(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    return [frame._asdict() for frame in frames]
