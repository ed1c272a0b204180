"""The messages of the data plane, between workers, sinks and clients.

Tasks flow down in a :class:`Batch`; a :class:`Statement` flows back up. Both go from a PUSH socket to the
other process's PULL inbox. So each message names the incarnation that sent it and the incarnation that it is
addressed to. A process drops messages that are addressed to another incarnation.

* :class:`Greet`      sender -> receiver: asks to open a link.
* :class:`Batch`      sender -> receiver: records of one job and epoch; numbered, and retained until acked.
  Small batches of other jobs may travel with it, as its *riders*: then the number is that of all of them.
* :class:`Probe`      sender -> receiver: asks what has arrived. Silence makes a sender send this, never data.
* :class:`Statement`  receiver -> sender: what has arrived and is acked, and the credit; absolute, repeatable.

Between a client and the sink that has its results, over DEALER and ROUTER:

* :class:`Want`       client -> sink: asks for a job's results, from an index on, up to a limit.
* :class:`Results`    sink -> client: the next results in order.

Paths are tuples of ints. A batch names its tasks' paths as *runs*: ``(first, n)`` stands for ``n``
siblings, the first at ``first``, the others counting up in the last component. ``first == ()``
stands for the root alone, with ``n == 1``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from zturbo.slotted import field, slotted

__all__ = [
    "MANY_TASKS",
    "MAX_DEPTH",
    "MAX_ERROR",
    "MAX_FRAMES",
    "MAX_INT",
    "MAX_MARKS",
    "MAX_ORDER",
    "MAX_RIDERS",
    "MAX_STAGES",
    "MAX_TEXT",
    "MAX_TRIAL",
    "NOTHING_TAKEN",
    "ORDERS",
    "PROTOCOL",
    "PUSHED_BYTES",
    "PUSHED_RESULTS",
    "Batch",
    "Buffer",
    "DataMessage",
    "End",
    "Fail",
    "Greet",
    "Group",
    "Mark",
    "Path",
    "PathRun",
    "Ping",
    "Probe",
    "Results",
    "Stamp",
    "Statement",
    "Taken",
    "Want",
    "group",
    "is_number",
    "is_order",
    "is_path",
    "meta_key",
]

PROTOCOL = 5
"""Version of the wire protocol. Two processes with different versions refuse each other."""

MAX_INT = 1 << 62
"""Largest number in a message."""

MAX_TRIAL = 1 << 53
"""Largest number of a trial: control messages name it too, and their numbers end there."""

MANY_TASKS = 2048
"""Tasks that a sender puts into one message at most: roots of a client, of the broker, outputs of a stage."""

# Both sides of a link have the same limits. A message that one side can make and the other refuses would be
# sent for ever.

MAX_DEPTH = 64
"""Most components of a path; a pipeline with more fan-outs is a mistake."""

MAX_STAGES = 1 << 10
"""Most stages of a pipeline. The index that stands for the sink is at most this, too."""

MAX_TEXT = 4 << 10
"""Most characters of a sentence or a name in a header."""

MAX_ORDER = 4 << 10
"""Most characters of an order."""

MAX_MARKS = 1 << 15
"""Most marks of a stamp: more than the failures that clients may have of a job that starts over."""

MAX_ERROR = 4 << 20
"""Most bytes of one failure, including its task's input."""

MAX_ROOTS = 1 << 14
"""Most ends of roots in one message of results."""

MAX_FRAMES = 1 << 16
"""Most frames of one message."""

MAX_RIDERS = 255
"""Most riders of a batch."""

Path = tuple[int, ...]
"""A task's position in its job: the number of its root, then of its child, and so on."""

PathRun = tuple[Path, int]
"""``(first, n)``: the paths of n siblings."""

Group = tuple[str, int] | tuple[str, int, str]
"""Pipeline, stage, and the code of the workers that are meant: without it all workers of the stage."""

Buffer = Any
"""An object with the buffer protocol: bytes, memoryview, an array, a received zmq frame's buffer."""


class End(NamedTuple):
    """Closes a path: its task gave ``count`` children and did not fail.

    ``meta`` is the packed meta of a task that gave nothing (count 0), or None.
    """

    path: Path
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    meta: bytes | None = None


class Fail(NamedTuple):
    """Closes a path: its task failed after ``count`` children, which stay valid.

    ``error`` is a packed map: see :mod:`zturbo.wire.payload`.
    """

    path: Path
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    error: bytes


class Mark(NamedTuple):
    """A note on one task: it kills or hangs its workers, or it failed and a client has the failure."""

    stage: int
    path: Path
    kind: str
    """Empty for a suspected task, which runs alone. Else the task is condemned, and fails with this error."""
    text: str
    """The reason, as a sentence."""
    given: int = 0
    """Number of its children that clients have got: a worker runs it for these alone."""


ORDERS = "'path', 'roots', 'none', or 'meta:KEY' with a key of the outputs' meta"
"""The valid orders, for error messages."""


def is_order(order: str) -> bool:
    """Whether a text is a valid order of results."""
    return order in ("path", "roots", "none") or (bool(meta_key(order)) and len(order) <= MAX_ORDER)


def is_number(value: Any, low: int = 0, high: int = MAX_INT) -> bool:
    """Whether a value is an int that a message may have."""
    return type(value) is int and low <= value <= high


def is_path(value: Any) -> bool:
    """Whether a value is a path that a message may have."""
    if type(value) is not tuple or len(value) > MAX_DEPTH:
        return False
    for component in value:  # a loop is faster than all() here, and this runs for each record of a batch
        if type(component) is not int or not 0 <= component <= MAX_INT:
            return False
    return True


def meta_key(order: str) -> str | None:
    """The key in outputs' meta by which an order sorts; None for other orders."""
    return order[5:] if order.startswith("meta:") else None


class Taken(NamedTuple):
    """The first roots of a job, if all that they gave was taken by a reader that reads it once."""

    roots: int = 0
    results: int = 0
    """How many results these roots gave, failures among them."""
    failed: int = 0
    """How many of these are failures."""


NOTHING_TAKEN = Taken()
"""Of a job that has to begin with its first root."""


@slotted(frozen=True)
class Stamp:
    """The broker's decision on a job in an epoch. It is the first record of the job on each link.

    A higher revision of the same epoch has more marks, or names the sink's next incarnation.
    """

    job: bytes
    """16 bytes, made by the client."""
    epoch: int
    """1 at first. Processes discard the tasks of lower epochs."""
    pipeline: str
    ordered: dict[int, bytes] = field(default_factory=dict)
    """Stage index -> incarnation of the worker that has this job there."""
    sink: bytes = b""
    """Incarnation of the sink that has this job."""
    durability: str = "fsync"
    """``fsync``, ``process`` or ``memory``: how safe an output is before the sink acks it."""
    marks: tuple[Mark, ...] = ()
    """Tasks that are suspected or condemned."""
    order: str = "path"
    """Order in which the sink releases results: ``path``; ``meta:KEY``, by numbers in the meta; ``none``."""
    logs: bool = False
    """Whether each task has a log of its stages."""
    revision: int = 0
    """Counts the stamps of an epoch, from 0."""
    spool: bytes = b""
    """Id of the sink's spool. A sink that starts on this spool takes the job over."""
    hold: str = ""
    """Results that the sink does not release yet. ``failures``: those from the first failure on, because
    there are retries left. ``all``: all of them, until the job is complete. ``success``: all of them, until
    the job is complete without a failure, because there are retries left and a stage is not deterministic.
    Empty: none."""
    fail_fast: bool = False
    """Whether the first failed task ends the job: a process with a sequencer reports it to the broker."""
    reader: bytes = b""
    """The client that gets the results unasked if they are few and small; empty for none."""
    token: int = 0
    """Its number among the readers of the results."""
    codes: dict[int, str] = field(default_factory=dict)
    """Stage index -> fingerprint of the code that the job has there; where there is none, any."""
    owner: str = ""
    """Name of the client's key, if there are keys: under this key its results may be read."""
    trims: bool = False
    """Whether its sink tells the broker which roots are needed no more, since their results were taken."""
    taken: Taken = NOTHING_TAKEN
    """Those whose results were taken before this epoch: they do not come again."""

    @property
    def rank(self) -> tuple[int, int]:
        """(epoch, revision): of two stamps of a job, the one with the higher rank is valid."""
        return self.epoch, self.revision

    def after(self, stage: int, stages: int) -> bytes | None:
        """The only incarnation that gets this job's tasks for a stage; None if any of its workers may.

        Args:
            stage: index of the stage; ``stages`` or more stands for the sink.
            stages: number of stages in the pipeline.
        """
        return self.sink if stage >= stages else self.ordered.get(stage)

    def to(self, stage: int, stages: int) -> bytes | Group:
        """Where this job's tasks for a stage go: to an incarnation, or to a group of workers.

        Args:
            stage: index of the stage; ``stages`` or more stands for the sink.
            stages: number of stages in the pipeline.
        """
        return self.after(stage, stages) or group(self.pipeline, stage, self.codes.get(stage, ""))


def group(pipeline: str, stage: int, code: str) -> Group:
    """The workers of a stage that have this code; all of them if it is empty."""
    return (pipeline, stage, code) if code else (pipeline, stage)


@slotted
class Batch:
    """Records of one job and epoch, which one message carries."""

    job: bytes
    epoch: int
    stage: int
    """Index of the stage that is to process the tasks; the number of stages stands for the sink."""
    runs: list[PathRun] = field(default_factory=list)
    """Paths of the tasks."""
    n: int = 0
    """Number of tasks: the sum over ``runs``."""
    blob: Buffer = b""
    """The n contents, each packed with msgpack, one after another with no header."""
    metas: bytes | None = None
    """The n metas in the same layout; None if no task has a meta."""
    buffers: list[Buffer] = field(default_factory=list)
    """Out-of-band buffers that the contents refer to by index."""
    ends: list[End] = field(default_factory=list)
    fails: list[Fail] = field(default_factory=list)
    stamp: Stamp | None = None
    number: int = 0
    """Number on its link, from 1; 0 while the batch is on no link."""
    source: bytes = b""
    """Incarnation of the sender."""
    target: bytes = b""
    """Incarnation of the receiver."""
    sub: int = 0
    """Which part of the message it is: 0 for the first one, which has the others as riders."""
    riders: list[Batch] = field(default_factory=list)
    """More batches for the same stage, as a rule of other jobs, that travel under this one's number."""

    @property
    def key(self) -> tuple[bytes, int, int]:
        """(sender, number, part): which input it is for its receiver."""
        return self.source, self.number, self.sub

    def apart(self) -> list[Batch]:
        """This batch and its riders, each by itself from now on."""
        if not self.riders:
            return [self]
        riders, self.riders = self.riders, []
        return [self, *riders]

    @property
    def size(self) -> int:
        """Credit that the batch costs, in tasks."""
        return self.n + len(self.ends) + len(self.fails)

    @property
    def nbytes(self) -> int:
        """Credit that the batch costs, in bytes, approximately."""
        total = len(self.blob) + 32 * (len(self.runs) + len(self.ends))
        if self.metas is not None:
            total += len(self.metas)
        for fail in self.fails:
            total += len(fail.error)
        for buffer in self.buffers:
            total += memoryview(buffer).nbytes
        return total


@slotted
class Greet:
    """A sender asks for a link."""

    source: bytes
    target: bytes
    view: int
    """The sender's view number."""


@slotted
class Probe:
    """A sender asks what has arrived."""

    source: bytes
    target: bytes
    nonce: int
    """Number of the probe, which a statement repeats. Batches sent before the probe that have not arrived by
    then are lost."""
    taken_back: tuple[tuple[int, int], ...] = ()
    """(batch, part) of those whose returned tasks the sender has taken back."""


@slotted
class Ping:
    """A process shows that its messages arrive, because the broker asks for that."""

    source: bytes
    target: bytes
    trial: int
    """The broker's number for what it wants to know."""


@slotted
class Statement:
    """A receiver's statement on a link: absolute and repeatable. ``busy`` and ``free`` alone may be withdrawn
    later."""

    source: bytes
    """Incarnation of the receiver of tasks, which sends the statement."""
    target: bytes
    """Incarnation of the sender of tasks."""
    received: int
    """All batches up to this number have arrived."""
    acked: int
    """All batches up to this number are acked."""
    ranges: list[tuple[int, int]]
    """Batches above ``acked`` that are acked too, as inclusive ranges."""
    tasks: int
    """Credit: the sender may send this many tasks, counted from the link's beginning."""
    nbytes: int
    """Credit: the sender may send a batch as long as it has sent fewer bytes than this on the link."""
    nonce: int = 0
    """The highest nonce of the probes that have arrived."""
    gap: bool = False
    """Whether a batch is missing before one that arrived, so that the sender has to probe."""
    returns: list[tuple[int, int, int]] = field(default_factory=list)
    """(batch, part, index): the part's tasks from this index on were not started, and go back to the
    sender."""
    busy: bool = False
    """Whether the receiver would return new tasks. While it is busy, the sender sends to others, whatever
    the credit."""
    free: bool = False
    """Whether the receiver, a worker, had nothing to do when it said so."""


PUSHED_RESULTS, PUSHED_BYTES = 64, 16 << 10
"""Results of a job, and bytes of them, up to which its first reader gets them before it asks."""

READ_ONCE = "its reader lets results go once they are taken: those at the beginning are not kept any more"
"""The problem of results that a sink has let go."""


@slotted
class Want:
    """A client asks a sink for a job's results: absolute and repeatable."""

    job: bytes
    token: int
    """The reader's number, which the broker gave it at its first attach; the sink serves only the highest."""
    first: int
    """Index of the next result that the client has not got; -1 for the sink's cursor."""
    limit: int
    """The sink may send results below this index; counted from the cursor if ``first`` is -1."""
    taken: int = 0
    """The new cursor: the caller's code has taken the results below this index."""
    once: bool = False
    """Whether the sink may let go of results that were taken: nobody asks for them again."""


@slotted
class Results:
    """A sink's answer: the job's results ``first .. first + n``, in order."""

    job: bytes
    token: int
    first: int
    n: int
    """Tasks and failures together."""
    blob: Buffer = b""
    """Contents of the n - len(fails) tasks, packed as in a batch."""
    metas: bytes | None = None
    buffers: list[Buffer] = field(default_factory=list)
    fails: list[tuple[int, bytes]] = field(default_factory=list)
    """(index, packed error) of those results that are failures."""
    total: int | None = None
    """Number of the job's results; None until it is known."""
    problem: str | None = None
    """Why there are no results: ``unknown`` job, ``superseded`` by another reader, or a sentence."""
    riders: list[Results] = field(default_factory=list)
    """Small results of other jobs that travel with these."""
    roots: tuple[tuple[int, int], ...] = ()
    """With order ``roots``: (root, index after its last result) of roots whose results are all in this
    message and those before it. Copies of what an earlier message said may be among them."""

    @property
    def nbytes(self) -> int:
        """About how many bytes these results have, without riders."""
        total = len(self.blob) + len(self.metas or b"") + sum(len(error) for _, error in self.fails)
        return total + sum(memoryview(buffer).nbytes for buffer in self.buffers)


DataMessage = Batch | Greet | Ping | Probe | Statement | Want | Results
