"""Effects: the things that a machine wants done, and that its shell does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from operator import length_hint
from typing import Any

from zturbo.slotted import field, slotted
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Batch, DataMessage, Mark, Results, Stamp

__all__ = [
    "Confirm",
    "Control",
    "Deliver",
    "Drop",
    "Effect",
    "EndJob",
    "Exit",
    "ForgetDamaged",
    "Free",
    "Load",
    "LogLine",
    "Meet",
    "Note",
    "Reclaim",
    "Record",
    "Reply",
    "Run",
    "Send",
    "Spill",
    "Store",
    "Work",
]


@slotted
class Send:
    """Send a data message to a peer's inbox."""

    peer: bytes
    message: DataMessage


@slotted
class Meet:
    """Reach these processes for a while too, though they are in no view yet."""

    members: tuple[Member, ...]


@slotted
class Control:
    """Send a control message: to the broker, or, at the broker, to one identity."""

    message: Message
    to: bytes = b""


@slotted
class Work:
    """Tasks of one job for the user's code, in order."""

    job: bytes
    epoch: int
    pieces: list[tuple[Batch, int, int]]
    """(batch, start, stop): tasks ``start .. stop`` of the batch."""
    origin: tuple[bytes, int, int] | None
    """(link, number, part) of the input whose custody they count for; None at an ordered stage."""
    fails: list[tuple[int, bytes, int]]
    """At an ordered stage: (index, error, count), in order. Each is a failure of a stage above. It passes by
    before the task of this index, counted over all pieces. Its own task had given so many children."""
    final: bool = False
    """At an ordered stage: whether this is the job's last work. The stage gives the END of all after it."""
    logs: bool = False
    marks: tuple[Mark, ...] = ()
    """The stamp's marks on tasks of this stage."""
    reclaimed: bool = False
    """Whether a :class:`Reclaim` was asked of it."""
    cut: int = 0
    """Tasks at its end that were taken back: the code does not get them."""
    unstarted: Iterator[None] = field(init=False)
    """Gives a value for each task that is neither started nor taken back. The code's thread takes one before
    each task. To cut the work short, the I/O thread takes all others."""

    def __post_init__(self) -> None:
        self.unstarted = repeat(None, self.size)

    @property
    def size(self) -> int:
        """Tasks that it was made with."""
        return sum(stop - start for _, start, stop in self.pieces)

    @property
    def started(self) -> int:
        """Tasks that the code has begun."""
        return self.size - self.cut - self.left

    @property
    def left(self) -> int:
        """Tasks that are neither started nor taken back."""
        return length_hint(self.unstarted)


@slotted
class Run:
    """Give this work to the user's code."""

    work: Work


@slotted
class Reclaim:
    """Take back the tasks of this work that are not started, then say ``reclaimed(work, started)``."""

    work: Work


@slotted
class EndJob:
    """The job is over here: let its state go."""

    job: bytes


@slotted
class Spill:
    """Put the contents of a waiting batch on disk, until it is handed out as work."""

    batch: Batch


@slotted
class Store:
    """Append to the job's spool and sync as its durability says, then say ``stored(token)``."""

    job: bytes
    token: int
    batch: Batch
    durability: str


@slotted
class Note:
    """Append to the job's spool, in order: a stamp for all that follows, or the cursor."""

    job: bytes
    stamp: Stamp | None
    cursor: int


@slotted
class Free:
    """Let go of results that nobody asks for again, where they take room of their own. Note it first."""

    job: bytes
    index: int
    """No result below it is needed any more."""
    pieces: list[tuple[int, int, int]]
    """(token, start, stop) of those that were needed until now."""


@slotted
class Drop:
    """Delete the job's spool."""

    job: bytes


@slotted
class ForgetDamaged:
    """Remove the marks of these jobs' damaged spools: the broker knows of them."""

    jobs: list[bytes]


@slotted
class Deliver:
    """Send results to a client. ``results`` has no contents; the pieces tell where these lie."""

    client: bytes
    results: Results
    pieces: list[tuple[int, int, int]]
    """(token of a stored batch, start, stop)."""
    fails: list[tuple[int, int, int]] = field(default_factory=list)
    """(index of the result, token of a stored batch, index of its failure): results that are failures,
    beside those in ``results``."""
    carrier: bytes = b""
    """The job whose spool has the batches, if the results are of a job that it carries."""


@slotted
class Record:
    """Write to the ledger, before any later effect leaves the process."""

    op: str
    args: tuple[Any, ...]


@slotted
class Load:
    """Read a chunk of roots from the ledger, then say ``loaded``."""

    job: bytes
    seq: int


@slotted
class Confirm:
    """Answer a request, once all records before it are in the ledger."""

    to: bytes
    message: Message


@slotted
class Reply:
    """Answer at once: the answer depends on no record that is still to be written."""

    to: bytes
    message: Message


@slotted
class LogLine:
    """A line for ``zturbo logs``: something that happened at a broker."""

    level: str
    source: str
    job: bytes
    """The job that the line is about; empty if there is none."""
    text: str


@slotted
class Exit:
    """Leave: this incarnation is fenced, or was told to stop."""

    reason: str
    code: int


Effect = (
    Send
    | Meet
    | Control
    | Run
    | Reclaim
    | EndJob
    | Spill
    | Store
    | Note
    | Drop
    | Free
    | Deliver
    | ForgetDamaged
    | Record
    | Load
    | Confirm
    | Reply
    | LogLine
    | Exit
)
