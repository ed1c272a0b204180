"""The messages that members, nodes and clients send to a broker."""

from __future__ import annotations

from typing import Annotated, Literal

from zturbo.wire.carried import MAX_CARRIED
from zturbo.wire.control import answers
from zturbo.wire.control.fields import (
    FAILURES,
    MANY,
    MAX_CONTROL,
    MAX_PAGE,
    AtMost,
    Bytes,
    Code,
    Count,
    Epoch,
    Id,
    IdOrNone,
    Int,
    Line,
    Metas,
    Name,
    Number,
    OutOfBand,
    Page,
    Path,
    Rank,
    Signed,
    StageIndex,
)
from zturbo.wire.control.gpu import MAX_GPUS, Gpu
from zturbo.wire.control.message import Message, Request, vocabulary
from zturbo.wire.control.newjob import MAX_SUBMIT, NewJob
from zturbo.wire.control.report import Report
from zturbo.wire.control.view import Member

__all__ = [
    "LEVELS",
    "MAX_CONTROL",
    "MAX_OVER",
    "MESSAGES",
    "RECORDS",
    "Attach",
    "Broken",
    "Cancel",
    "Cause",
    "ClientHello",
    "CloseFeed",
    "Complete",
    "Draining",
    "Entered",
    "Exited",
    "Feed",
    "GetView",
    "Held",
    "Hello",
    "JobFailed",
    "Jobs",
    "KnownFailures",
    "LastCounts",
    "Leave",
    "Level",
    "Log",
    "Logs",
    "Look",
    "Looking",
    "Measured",
    "Members",
    "Pause",
    "Pinged",
    "Pinging",
    "Progress",
    "Recovered",
    "Release",
    "Renew",
    "RootsTaken",
    "Seen",
    "StartFailed",
    "Submit",
    "Telemetry",
    "Trouble",
    "Watch",
]

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
"""Level of a line that a member logs."""
LEVELS: dict[int, Level] = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
"""Number of a level in :mod:`logging` -> name."""
Cause = Literal["", "between", "timeout", "cancelled", "stopped"]
"""Cause of a death; see :class:`zturbo_broker.jobs.strikes.Death`."""
MAX_OVER = 64
"""Most jobs that a client names as complete when it asks for their status."""
RECORDS = 200
"""Most lines in one ``log``."""
RootRun = tuple[Annotated[tuple[Count, ...], AtMost(1)], Annotated[int, Int(1, 1 << 53)]]
"""(path of the first root, number of roots); the path of a job's single root is empty."""
Pid = Annotated[int, Int(0, 1 << 31)]
RootEnds = Annotated[
    tuple[tuple[Annotated[int, Int(0, MAX_CARRIED - 1)], Count, Count], ...], AtMost(MAX_CARRIED)
]
"""(root, results, failed tasks) of roots that have ended, the first ended first. There are none of a job with
more roots than jobs may travel together."""


Looking = Literal["stack", "profile", "trace", "reach"]
"""Kind of a look at a process; or, from the host of that process, at the ports of another one."""
MAX_SECONDS = 600
"""Seconds that one look may take, or go back, at most."""
SEEN = 4 << 20
"""Bytes in the answer to a look at most."""


# -- members --------------------------------------------------------------------------------------
class Hello(Message):
    """A worker or a sink introduces itself. It repeats this each second, as its heartbeat."""

    member: Member
    node: Id
    pid: Pid
    protocol: Signed
    version: Code
    python: Code
    stage_name: Name
    code: Name
    view: Number
    """Number of the member's view; 0 before it has joined."""
    jobs: Annotated[tuple[Rank, ...], AtMost(1000)]
    """Some of the jobs that the member knows."""
    cpu: Annotated[int, Int(0, 1 << 31)] = 0
    """Its use of the CPU lately, in percent of one core."""
    memory: Number = 0
    """Bytes of memory that it has."""


class GetView(Message, type_name="get_view"):
    """Asks for the view, because a peer has a newer one."""

    view: Count = 0
    """Number of the view that it has."""


class Leave(Message):
    """A member is about to exit."""

    incarnation: Id


class Progress(Message):
    """A member's counts of the jobs that it works on."""

    incarnation: Id
    counts: Annotated[dict[Id, tuple[Count, Count, Count, Count]], AtMost(MANY)]
    """Job -> numbers of tasks: given (including failures and drops), failed, queued, running. Of a sink the
    last one is how many bytes of its spool the results take."""
    ended: Annotated[dict[Id, tuple[Epoch, RootEnds]], AtMost(MANY)] = {}  # noqa: RUF012 - as in Renew
    """Of a sink: job with order ``roots`` -> its epoch, and its roots whose results are all here."""


class Measured(Message):
    """What a member has measured of itself. It says so once a second, as long as something changes."""

    incarnation: Id
    report: Report


class LastCounts(Message, type_name="last_counts"):
    """A member's final counts of jobs that have ended."""

    incarnation: Id
    counts: Annotated[dict[Id, tuple[Epoch, Count, Count]], AtMost(MANY)]
    """Job -> (epoch, number of tasks given, number failed)."""


class Broken(Message):
    """A member complains that another member does not answer."""

    incarnation: Id
    peer: Id


class Pinging(Message):
    """A member, or a process that wants to be one, has sent the pings that it was asked for."""

    incarnation: Id
    trial: Count


class Pinged(Message):
    """A ping has come."""

    incarnation: Id
    source: Id
    trial: Count


class Draining(Message):
    """A member takes no new jobs."""

    incarnation: Id


class Trouble(Message):
    """A member says why it cannot go on, such as a full disk. An empty text says that it goes on again."""

    incarnation: Id
    text: Line


class Log(Message):
    """Lines that a member has logged."""

    incarnation: Id
    source: Name
    records: Annotated[tuple[tuple[Level, IdOrNone, Path, Line], ...], AtMost(RECORDS)]
    """(level, job, path of its task, text); a path is empty if it is not known."""
    dropped: Count
    """Number of lines that were left out, because there were too many."""


# -- members, after the broker's restart ----------------------------------------------------------
class Held(Message):
    """Roots of the broker's predecessor that a worker of a first stage holds."""

    incarnation: Id
    broker: Id
    items: Annotated[
        tuple[tuple[Id, Epoch, Annotated[tuple[RootRun, ...], AtMost(MANY)], Count, Count], ...], AtMost(MANY)
    ]
    """(job, epoch, runs of roots, number of tasks, bytes) of each input batch."""


class Entered(Message):
    """Roots of a job that have wholly entered its first sequencer."""

    incarnation: Id
    job: Id
    epoch: Epoch
    roots: Annotated[tuple[tuple[Annotated[int, Int(-1)], Annotated[int, Int(-1)]], ...], AtMost(MANY)]
    """Half-open ranges of root numbers; the number of a job's single root is -1."""


# -- sinks ----------------------------------------------------------------------------------------
class Recovered(Message):
    """A sink has read its spool."""

    incarnation: Id
    jobs: Annotated[tuple[Rank, ...], AtMost(MANY)]
    damaged: Annotated[tuple[Id, ...], AtMost(MANY)]


class Pause(Message):
    """A job has more than its share of unread results at a sink, so its roots have to wait."""

    incarnation: Id
    job: Id
    epoch: Epoch


class RootsTaken(Message, type_name="roots_taken"):
    """The first roots of a job are needed no more: a client has taken all that they gave, and reads once."""

    incarnation: Id
    job: Id
    epoch: Epoch
    taken: tuple[Count, Count, Count]
    """(roots, results, failures among them)"""


class Complete(Message):
    """All of these jobs has entered their sink."""

    incarnation: Id
    jobs: Annotated[tuple[tuple[Id, Epoch, Count, Count], ...], AtMost(MANY)]
    """(job, epoch, results, failed tasks)"""
    ended: Annotated[dict[Id, RootEnds], AtMost(MANY)] = {}  # noqa: RUF012 - as in Renew
    """Job with order ``roots`` -> all of its roots."""
    large: Annotated[tuple[Id, ...], AtMost(MANY)] = ()
    """Jobs with so many bytes of results that they are kept only as long as they are needed."""


class KnownFailures(Message, type_name="known_failures"):
    """Failures that clients have got of a job that has started over."""

    incarnation: Id
    job: Id
    epoch: Epoch
    failures: Annotated[tuple[tuple[StageIndex, Path, Count], ...], AtMost(FAILURES)]
    """(stage index, path, number of children released before it) of each failure."""


class JobFailed(Message, type_name="job_failed"):
    """A member met an error that ends a job."""

    incarnation: Id
    job: Id
    epoch: Epoch
    kind: Code
    error: Line


# -- nodes ----------------------------------------------------------------------------------------
class Renew(Message):
    """A node renews the lease of its living members."""

    node: Id
    alive: Annotated[tuple[Id, ...], AtMost(MANY)]
    wanted: Annotated[dict[Name, Count], AtMost(1000)] = {}  # noqa: RUF012 - a message cannot be changed
    """Name of a process, such as ``video.detect`` -> how many of them the node is to keep running."""
    gpus: Annotated[tuple[Gpu, ...], AtMost(MAX_GPUS)] = ()
    """The GPUs of the node's host; empty if there are none, or nothing can be known of them."""


class Exited(Request[None]):
    """A node saw a member exit."""

    node: Id
    incarnation: Id
    code: Signed
    text: Line
    who: Name
    """Text for people: stage, process, host."""
    cause: Cause
    running: Annotated[tuple[tuple[Id, Epoch, Path, Count], ...], AtMost(1000)]
    """(job, epoch, path, number of outputs given) of each task that was running."""


class StartFailed(Request[None], type_name="start_failed"):
    """A worker of a node does not start."""

    node: Id
    incarnation: Id
    who: Name
    """For people: pipeline and stage, or sink."""
    error: Line
    traceback: Page


class Seen(Message):
    """What a node has seen of one of its processes, for a client that has asked."""

    node: Id
    number: Count
    """Of the broker's question."""
    data: Annotated[bytes, Bytes(SEEN)]
    """Packed as :mod:`zturbo.telemetry.seen` says; empty if there is an error."""
    error: Line


# -- clients --------------------------------------------------------------------------------------
class ClientHello(Request[answers.Greeting], type_name="client_hello"):
    """A client introduces itself."""

    client: Id
    protocol: Signed
    version: Code


class Submit(Request[answers.Submitted]):
    """A client submits jobs. If the message comes twice, each of them is still one job.

    The answer has an outcome for each job, in their order: a job that is refused does not hold up the others.
    """

    client: Id
    jobs: Annotated[tuple[NewJob, ...], AtMost(MAX_SUBMIT)]
    contents: OutOfBand = ()
    """The frames of all roots, in the order of the jobs."""


class Feed(Request[answers.Fed]):
    """A chunk of a streamed job's roots."""

    job: Id
    seq: Count
    first: Count
    n: Annotated[int, Int(1, 1 << 53)]
    metas: Metas | None
    contents: OutOfBand = ()


class CloseFeed(Request[answers.Fed], type_name="close_feed"):
    """All roots of a streamed job have been fed."""

    job: Id
    chunks: Count
    total: Count


class Attach(Request[answers.Whereabouts]):
    """Asks where a job's results are."""

    job: Id


class Watch(Request[answers.Ended]):
    """Asks which of these jobs have ended. The broker answers when one of them has."""

    jobs: Annotated[tuple[Id, ...], AtMost(MANY)]


class Cancel(Request[answers.State]):
    """Asks to end a job now."""

    job: Id


class Release(Request[answers.State]):
    """Tells the broker that a job's results are not needed any more. A job that runs is cancelled."""

    job: Id
    history: bool = False
    """Whether the job stays in the list of jobs. So do its results, if tasks failed and the job is not large:
    these tasks can be run again."""
    complete: bool = False
    """With ``history``: whether the client has had all results. Then a job that runs, for the broker, is not
    cancelled: it has just ended."""


class Jobs(Request[answers.Description]):
    """Asks for the status of jobs. The answer may wait for the last counts of jobs that have just ended."""

    job: Id | None
    """The only job to describe; None for all jobs."""
    over: Annotated[tuple[Id, ...], AtMost(MAX_OVER)]
    """Jobs that the client knows to be complete."""
    most: Count = MAX_PAGE
    """How many jobs the answer may have; no answer has more than ``MAX_PAGE``."""
    after: Signed = 0
    """0 for the first page; then what the page before has as its ``next``."""


class Members(Request[answers.Members]):
    """Asks for all processes that the broker knows as living."""


class Telemetry(Request[answers.Telemetry]):
    """Asks what the members have measured. Read-only."""

    after: Count = 0
    """0 for the first page; then what the page before has as its ``next``."""


class Look(Request[answers.Seen]):
    """Asks what a process does now, or has done lately. The broker asks its node, and hands on the answer."""

    target: Id
    """The process: its incarnation."""
    kind: Looking
    seconds: Annotated[int, Int(0, MAX_SECONDS)] = 0
    """For which it is looked at, for a profile; of the trace, how far back it goes, and 0 is all of it."""
    of: Id | None = None
    """The member whose ports its host is to look at, for ``reach``."""


class Logs(Request[answers.LogPage]):
    """Asks for lines of the broker's log."""

    after: Signed
    job: Id | None
    source: Name


MESSAGES = vocabulary(globals())
"""Type on the wire -> class."""
