"""The vocabulary of the data plane: what one process says to another.

Tasks flow down in :class:`Batch`; :class:`Statement` flows back up. Both go over the same kind of
socket, PUSH to the other's PULL inbox, so each message names who sent it and to which incarnation
it is addressed; whoever reads one that is not addressed to his incarnation drops it.

* :class:`Greet`      sender -> receiver: here I am; open a link.
* :class:`Batch`      sender -> receiver: numbered, of one job and epoch, retained until acked.
* :class:`Probe`      sender -> receiver: what have you got? (silence sends this, never data)
* :class:`Statement`  receiver -> sender: absolute and repeatable: received, acked, credit.

Between a client and the sink that has its results, over DEALER and ROUTER:

* :class:`Want`       client -> sink: results of this job, from here, at most up to there.
* :class:`Results`    sink -> client: the next results in order.

Paths are tuples of ints. A batch names its tasks' paths as *runs*: ``(first, n)`` stands for ``n``
siblings, the first at ``first``, the others counting up in the last component. ``first == ()``
stands for the root alone, with ``n == 1``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "MAX_DEPTH",
    "MAX_ERROR",
    "MAX_FRAMES",
    "MAX_INT",
    "MAX_MARKS",
    "MAX_ORDER",
    "MAX_STAGES",
    "MAX_TEXT",
    "ORDERS",
    "PROTOCOL",
    "Batch",
    "Buffer",
    "DataMessage",
    "End",
    "Fail",
    "Greet",
    "Mark",
    "Path",
    "PathRun",
    "Probe",
    "Results",
    "Stamp",
    "Statement",
    "Want",
    "is_number",
    "is_order",
    "is_path",
    "meta_key",
]

PROTOCOL = 1
"""Version of the wire protocol; two ends with different numbers refuse each other by name."""

MAX_INT = 1 << 62
"""Largest number in a message."""

# Who makes a message and who reads it keep to the same limits: a message that one side can make and the other
# refuses would be sent for ever.

MAX_DEPTH = 64
"""Components that a path may have; a pipeline of 64 fan-outs is a mistake."""

MAX_STAGES = 1 << 10
"""Stages that a pipeline may have; the index of a stage is at most this."""

MAX_TEXT = 4 << 10
"""Characters of a sentence or a name in a header."""

MAX_ORDER = 4 << 10
"""Characters that an order may have."""

MAX_MARKS = 1 << 15
"""Marks that a stamp may have: more failures than may be given out before a job starts over."""

MAX_ERROR = 4 << 20
"""Bytes that one failure may have, its task's input included."""

MAX_FRAMES = 1 << 16
"""Frames that one message may have."""

Path = tuple[int, ...]
"""A task's place in its job."""

PathRun = tuple[Path, int]
"""``(first, n)``: n sibling paths."""

Buffer = Any
"""Anything with the buffer protocol: bytes, memoryview, an array, a received zmq frame's buffer."""


class End(NamedTuple):
    """A path that is closed: it had ``count`` children, and no failure.

    ``meta`` is the packed meta of a task that gave nothing (count 0), or None.
    """

    path: Path
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    meta: bytes | None = None


class Fail(NamedTuple):
    """A path that is closed by a failure, after ``count`` children that stand.

    ``error`` is a packed map: see :mod:`zturbo.wire.payload`.
    """

    path: Path
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    error: bytes


class Mark(NamedTuple):
    """What is known of one task: it kills or hangs whoever runs it, or it failed and that was given out."""

    stage: int
    path: Path
    kind: str
    """Empty: suspected, it runs alone. Else nobody runs it any more; it fails with an error of this kind."""
    text: str
    """Why, as a sentence."""
    given: int = 0
    """Its children that were given out before it failed: it is run for these alone."""


ORDERS = "'path', 'none', or 'meta:KEY' with a key of the outputs' meta"
"""What an order may be, in words."""


def is_order(order: str) -> bool:
    """Whether this says how results are ordered."""
    return order in ("path", "none") or (bool(meta_key(order)) and len(order) <= MAX_ORDER)


def is_number(value: Any, low: int = 0, high: int = MAX_INT) -> bool:
    """Whether this is an int that a message can carry."""
    return type(value) is int and low <= value <= high


def is_path(value: Any) -> bool:
    """Whether this is a path that a message can carry."""
    if type(value) is not tuple or len(value) > MAX_DEPTH:
        return False
    for component in value:  # a loop is faster than all() here, and each record of a batch has a path
        if type(component) is not int or not 0 <= component <= MAX_INT:
            return False
    return True


def meta_key(order: str) -> str | None:
    """The key in the outputs' meta that results are ordered by, if they are."""
    return order[5:] if order.startswith("meta:") else None


@dataclass(slots=True, frozen=True)
class Stamp:
    """What the broker decided for (job, epoch). The first record of a job on each link.

    A higher revision of the same epoch has more marks, or names the sink's next incarnation.
    """

    job: bytes
    """16 bytes, made by the client."""
    epoch: int
    """1 at first; a higher one fences the lower."""
    pipeline: str
    ordered: dict[int, bytes] = field(default_factory=dict)
    """Stage index -> incarnation of the worker that has this job there."""
    sink: bytes = b""
    """Incarnation of the sink that has this job."""
    durability: str = "fsync"
    """``fsync``, ``process`` or ``memory``: what the sink waits for before it acks."""
    marks: tuple[Mark, ...] = ()
    """Tasks that are suspected or condemned."""
    order: str = "path"
    """``path``: the sink releases in order; ``meta:KEY``: by ids in the meta; ``none``: as they come."""
    logs: bool = False
    """Whether each task carries its log of stages."""
    revision: int = 0
    """Counts up within the epoch."""
    spool: bytes = b""
    """Id of that sink's spool: whoever comes back with it is that sink again."""
    hold: str = ""
    """What the sink keeps back: ``failures`` (there are retries left: it stops before the first one),
    ``all`` (until the job is complete), or nothing."""
    fail_fast: bool = False
    """Whether the first failed task ends the job: whoever has a sequencer tells the broker of it."""

    @property
    def rank(self) -> tuple[int, int]:
        """Of two stamps of a job the one with the higher rank holds."""
        return self.epoch, self.revision

    def after(self, stage: int, stages: int) -> bytes | None:
        """Who alone gets what is for this stage of this job; None where any of its workers may."""
        return self.sink if stage >= stages else self.ordered.get(stage)


@dataclass(slots=True)
class Batch:
    """What one message carries: records of one job and epoch."""

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
    """The n metas in the same layout, or None where none has any."""
    buffers: list[Buffer] = field(default_factory=list)
    """Out-of-band buffers that the contents refer to by index."""
    ends: list[End] = field(default_factory=list)
    fails: list[Fail] = field(default_factory=list)
    stamp: Stamp | None = None
    number: int = 0
    """Place on its link, from 1; 0 as long as it is on none."""
    source: bytes = b""
    """Incarnation of the sender."""
    target: bytes = b""
    """Incarnation that it is addressed to."""

    @property
    def size(self) -> int:
        """Credit that it costs, in tasks."""
        return self.n + len(self.ends) + len(self.fails)

    @property
    def nbytes(self) -> int:
        """Credit that it costs, in bytes, near enough."""
        total = len(self.blob) + 32 * (len(self.runs) + len(self.ends))
        if self.metas is not None:
            total += len(self.metas)
        for fail in self.fails:
            total += len(fail.error)
        for buffer in self.buffers:
            total += memoryview(buffer).nbytes
        return total


@dataclass(slots=True)
class Greet:
    """A sender asks for a link."""

    source: bytes
    target: bytes
    view: int
    """The sender's view number."""


@dataclass(slots=True)
class Probe:
    """A sender asks what has arrived."""

    source: bytes
    target: bytes
    nonce: int
    """Comes back in a statement; what was sent before the probe and has not arrived by then is lost."""
    taken_back: tuple[int, ...] = ()
    """Batches whose returned tasks the sender has taken back."""


@dataclass(slots=True)
class Statement:
    """What a receiver says of a link: absolute and repeatable; nothing but ``busy`` is ever taken back."""

    source: bytes
    """Incarnation of the receiver of tasks, who sends this."""
    target: bytes
    """Incarnation of the sender of tasks."""
    received: int
    """All batches up to this number have arrived."""
    acked: int
    """All batches up to this number are acked."""
    ranges: list[tuple[int, int]]
    """Batches above ``acked`` that are acked too, as inclusive ranges."""
    tasks: int
    """The sender may send up to this many tasks, counted from the link's beginning."""
    nbytes: int
    """The sender may begin to send as long as it sent fewer bytes than this."""
    nonce: int = 0
    """The highest probe that has arrived."""
    gap: bool = False
    """A batch came that was not the next one: please probe."""
    returns: list[tuple[int, int]] = field(default_factory=list)
    """(batch, index): the tasks from this index on were not started and are given back."""
    busy: bool = False
    """What comes now is given back as well: for the time being, send it elsewhere, whatever the credit."""


@dataclass(slots=True)
class Want:
    """A client asks a sink for a job's results: absolute and repeatable."""

    job: bytes
    token: int
    """What the broker gave for the first attach of this reader; a higher one supersedes a lower."""
    first: int
    """Index of the next result that the client has not got; -1 for the sink's cursor."""
    limit: int
    """The sink may send results below this index; counted from the cursor where ``first`` is -1."""
    taken: int = 0
    """The cursor: the caller's code has taken the results below this index."""


@dataclass(slots=True)
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
    """How many results the job has in all, once that is known."""
    problem: str | None = None
    """Why there are no results: ``unknown`` job, ``superseded`` by another attach, or a sentence."""


DataMessage = Batch | Greet | Probe | Statement | Want | Results
