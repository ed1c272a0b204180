"""The classes of the values in a broker's ``ok``.

A client does not trust the broker either. So it checks the broker's answers like all bytes from a socket.
"""

from __future__ import annotations

from typing import Annotated

from zturbo.wire.carried import MAX_CARRIED
from zturbo.wire.control.fields import (
    MANY,
    MAX_PAGE,
    AtMost,
    Bytes,
    Code,
    Count,
    Epoch,
    Id,
    IdOrNone,
    Int,
    JobOptions,
    Name,
    Number,
    Path,
    Real,
    Signed,
    Text,
)
from zturbo.wire.control.gpu import MAX_GPUS, Gpu
from zturbo.wire.control.message import Message
from zturbo.wire.control.newjob import MAX_SUBMIT
from zturbo.wire.control.report import Report
from zturbo.wire.messages import MAX_STAGES

__all__ = [
    "Counts",
    "Description",
    "Ended",
    "Fed",
    "Greeting",
    "Load",
    "LogEntry",
    "LogPage",
    "Measurement",
    "Members",
    "Outcome",
    "Part",
    "Pipeline",
    "Process",
    "Queued",
    "Seen",
    "State",
    "Status",
    "Submitted",
    "Telemetry",
    "Whereabouts",
]

StateName = Annotated[str, Text(20)]
MAX_AFTER = 60.0
"""Seconds after which a client is told to come back, at most."""

Sentence = Annotated[str, Text(1 << 20)]
"""A text for people to read."""


class Greeting(Message):
    """A broker introduces itself."""

    version: Code
    cluster: Annotated[bytes, Bytes(64)]
    """Id of the broker's ledger."""
    pipelines: Annotated[tuple[Name, ...], AtMost(MANY)]
    max_task_bytes: Annotated[dict[Name, Number], AtMost(MANY)]
    """Pipeline -> most bytes of one task."""


class Fed(Message):
    """How many chunks of a job the broker has."""

    fed: Count


class State(Message):
    """State of a job."""

    state: StateName


Ended = Annotated[tuple[tuple[Id, StateName, Code | None, Sentence | None], ...], AtMost(MANY)]
"""(job, state, kind of error, error) of jobs that have ended."""


class Whereabouts(Message):
    """The state of a job, and the address of its results."""

    name: Name
    fed: Count
    token: Number
    """Number of this reader of results. A sink serves only the highest, so that old answers are not used."""
    state: StateName
    epoch: Epoch
    error: Sentence | None
    kind: Code | None
    waiting: Sentence | None
    """What the job waits for, as a text that fits after ``waits for``."""
    sink: IdOrNone
    results: Annotated[tuple[Name, ...], AtMost(16)]
    """Addresses of the sink."""
    host: Name
    key: Code = ""
    """Public key of the sink, if there are keys."""


class Outcome(Message):
    """What became of one job that was submitted: where it is, or why the broker does not take it.

    For jobs that travel together it is the carrier's. If the broker has taken them apart, it is that of the
    first, and the tokens of the others follow in their order.
    """

    at: Whereabouts | None
    kind: Code | None
    """Kind of the error."""
    error: Sentence | None
    apart: bool = False
    """Whether jobs that were to travel together are jobs of their own."""
    after: Annotated[float, Real(0.0, MAX_AFTER)] = 0.0
    """Seconds after which the client is to submit it again, if there is no room for it now; else 0."""


Submitted = Annotated[tuple[Outcome, ...], AtMost(MAX_SUBMIT)]


class Counts(Message):
    """Numbers of tasks of one job at one stage."""

    stage: Name
    queued: Count
    running: Count
    done: Count
    failed: Count


class Part(Message):
    """One of the jobs that travel together, if they have names of their own."""

    root: Annotated[int, Int(0, MAX_CARRIED - 1)]
    name: Name
    state: StateName
    results: Count
    """While it runs, 0; so is ``failed``."""
    failed: Count


class Status(Message):
    """A job's status. ``JobHandle.status()`` and ``Client.jobs()`` give it as a map, the id as a text."""

    id: Id
    number: Count
    """Its place in the order of submission."""
    name: Name
    pipeline: Name
    state: StateName
    waiting: Sentence | None
    incidents: Annotated[tuple[Sentence, ...], AtMost(100)]
    epoch: Epoch
    total: Count | None
    fed: Count
    stages: Annotated[tuple[Name, ...], AtMost(MAX_STAGES + 1)]
    done: Annotated[tuple[Count, ...], AtMost(MAX_STAGES + 1)]
    counts: Annotated[tuple[Counts, ...], AtMost(MAX_STAGES + 1)]
    results: Count
    failed: Count
    error: Sentence | None
    error_kind: Code | None
    options: JobOptions
    created: Annotated[float, Real()]
    """The broker's wall time at the submit, in seconds since 1970."""
    ended: Annotated[float, Real()] = 0.0
    """The broker's wall time at its end; 0.0 if it has not ended."""
    carries: Count = 0
    """How many jobs this stands for, which travel together: its numbers are those of all of them. 0 if it is
    one job of its own."""
    over: Count = 0
    """How many of the jobs that this stands for have ended, while it runs."""
    parts: Annotated[tuple[Part, ...], AtMost(MAX_CARRIED)] = ()
    """The jobs that this stands for, without those that clients have let go, if they have names of their
    own."""
    carrier: IdOrNone = b""
    """If it travels with others, the id of what stands for them all: counts, incidents, sizes are of all."""
    input_bytes: Count = 0
    """Bytes of the root tasks that have come, which the broker has on its disk; 0 once the job is over."""
    memory: Count = 0
    """About how many bytes of the broker's memory it takes, root tasks that wait there included; 0 once it is
    over. Its results are with a sink, and its tasks with workers."""
    stored: Count = 0
    """About how many bytes its results take at the sink; 0 once it is over."""


class Pipeline(Message):
    """A pipeline of the broker's network file."""

    name: Name
    stages: Annotated[tuple[Name, ...], AtMost(MAX_STAGES + 1)]
    workers: Annotated[tuple[Count, ...], AtMost(MAX_STAGES + 1)]
    """Number of living workers of each stage."""
    problems: Annotated[dict[Name, Sentence], AtMost(MAX_STAGES + 2)]
    """Stage -> the reason why its workers do not start."""
    codes: Annotated[dict[Name, Sentence], AtMost(MAX_STAGES + 1)]
    """Stage whose workers have different code -> how many have which, the oldest code first."""


class Queued(Message):
    """What the unfinished jobs of one client use at the broker."""

    client: Name
    """Name of its key; without keys, its identity as hexadecimal digits."""
    jobs: Number
    nbytes: Number
    """Bytes of their roots."""
    refused: Number
    """Jobs that the broker had no room for, each time that they came."""


class Description(Message):
    """A page of a broker's jobs, and its pipelines."""

    jobs: Annotated[tuple[Status, ...], AtMost(MAX_PAGE)]
    """Jobs that are not over come first, in the order of submission. Then come those that have ended, the one
    that was submitted last first."""
    next: Signed
    """Where the next page begins; 0 if there is none."""
    totals: Annotated[dict[StateName, Count], AtMost(16)]
    """State -> number of jobs."""
    pipelines: Annotated[tuple[Pipeline, ...], AtMost(MANY)]
    trouble: Sentence | None
    """What the broker itself waits for, such as space on its disk."""
    open: bool = False
    """Whether other hosts reach the broker, and no keys keep strangers out."""
    clock: Annotated[float, Real()] = 0.0
    """The broker's wall time, in seconds since 1970."""
    clients: Annotated[tuple[Queued, ...], AtMost(MAX_PAGE)] = ()
    """Clients with unfinished jobs, those with the most jobs first."""
    job_memory: Number = 0
    """About how many bytes of the broker's memory unfinished jobs take."""
    refused: Number = 0
    """Jobs that the broker had no room for, each time that they came."""


class Process(Message):
    """A process that the broker knows as living: a member, or the broker itself."""

    name: Name
    """For people: ``video.detect``, ``sink`` or ``broker``."""
    host: Name
    addresses: Annotated[tuple[Name, ...], AtMost(16)]
    """Addresses of its inbox, ipc first."""
    results: Annotated[tuple[Name, ...], AtMost(16)]
    """Addresses at which clients reach a sink."""
    incarnation: Id
    pid: Count
    """0 if it has not said hello since the broker's start."""
    version: Code
    """Of zturbo."""
    python: Code
    code: Name
    """Fingerprint of its stage's code; empty for a broker or a sink."""
    heard: Annotated[float, Real()]
    """Seconds since the broker last heard of it: by its own hello, or from its node."""
    cpu: Count
    """Percent of one core, lately."""
    memory: Count
    """Bytes."""


HostGpus = Annotated[dict[Name, Annotated[tuple[Gpu, ...], AtMost(MAX_GPUS)]], AtMost(MANY)]
"""Host -> its GPUs; hosts without GPUs, or whose nodes know of none, are not in it."""


class Members(Message):
    """All processes that the broker knows as living, itself first, the others in the order of joining."""

    processes: Annotated[tuple[Process, ...], AtMost(MANY)]
    clock: Annotated[float, Real()]
    """The broker's wall time, in seconds since 1970: people may compare clocks, zturbo does not."""
    gpus: HostGpus = {}  # noqa: RUF012 - a message cannot be changed


class Measurement(Message):
    """A member, with what it has measured of itself."""

    incarnation: Id
    name: Name
    """For people: ``video.detect`` or ``sink``."""
    pipeline: Name
    stage: Signed
    """Index of its stage; -1 for a sink."""
    host: Name
    pid: Count
    ordered: bool
    heard: Annotated[float, Real()]
    """Seconds since the broker last heard of it: by its own hello, or from its node."""
    age: Annotated[float, Real()]
    """Seconds since its latest report. A member without news makes none: so it has been idle for as long."""
    latest: Report | None
    before: Report | None
    """A report of some seconds earlier: the difference of both is what the member has done lately."""


class Load(Message):
    """A pipeline, and what waits for it at the broker."""

    name: Name
    stages: Annotated[tuple[Name, ...], AtMost(MAX_STAGES + 1)]
    wanted: Annotated[tuple[Count, ...], AtMost(MAX_STAGES + 1)]
    """Workers of each stage that the nodes are to keep running."""
    backlog: Count
    """Root tasks that wait at the broker."""


class Telemetry(Message):
    """A page of what the members have measured."""

    members: Annotated[tuple[Measurement, ...], AtMost(MAX_PAGE)]
    next: Count
    """Where the next page begins; 0 if there is none."""
    pipelines: Annotated[tuple[Load, ...], AtMost(MANY)]
    gpus: HostGpus = {}  # noqa: RUF012 - a message cannot be changed
    """On the first page alone."""


class Seen(Message):
    """What a node has seen of a process."""

    data: Annotated[bytes, Bytes(4 << 20)]
    """Packed as :mod:`zturbo.telemetry.seen` says."""


class LogEntry(Message):
    """One line of ``zturbo logs``."""

    number: Count
    at: Annotated[float, Real()]
    level: Annotated[str, Text(20)]
    source: Name
    job: IdOrNone
    text: Sentence
    path: Path = ()
    """Of the task that ran; empty if it is not known."""
    host: Name = ""
    pid: Count = 0
    """Of the process that said it; 0 for the broker."""


class LogPage(Message):
    """Some lines of ``zturbo logs``."""

    entries: Annotated[tuple[LogEntry, ...], AtMost(MANY)]
    last: Count
    """The number of the last line; the next question asks for lines after it."""
    more: bool
