"""What a machine wants done; its shell does it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from zturbo.wire.control.message import Message
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
    "Load",
    "LogLine",
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


@dataclass(slots=True)
class Send:
    """Put a data-plane message on the way to a peer's inbox."""

    peer: bytes
    message: DataMessage


@dataclass(slots=True)
class Control:
    """Send a control message: to the broker, or, at the broker, to one identity."""

    message: Message
    to: bytes = b""


@dataclass(slots=True)
class Work:
    """Tasks of one job for the user's code, in order."""

    job: bytes
    epoch: int
    pieces: list[tuple[Batch, int, int]]
    """(batch, start, stop): which tasks of the batch."""
    origin: tuple[bytes, int] | None
    """(link, number) of the input batch whose custody they count for; None at an ordered stage."""
    fails: list[tuple[int, bytes, int]]
    """At an ordered stage: (place before which it passes by, error, children before it), in order."""
    final: bool = False
    """At an ordered stage: nothing comes after this; the stage says END of all."""
    logs: bool = False
    marks: tuple[Mark, ...] = ()
    """What the broker found out about tasks of this stage."""
    reclaimed: bool = False
    """Whether its rest was asked back."""
    cut: int = 0
    """Tasks that were taken back, from the end: the code does not get them."""
    unstarted: deque[None] = field(init=False)
    """One entry for each task that is neither started nor taken back. The code's thread takes one from the
    left before each task. The I/O thread takes those that are left from the right, to cut the work short."""

    def __post_init__(self) -> None:
        self.unstarted = deque((None,) * self.size)

    @property
    def size(self) -> int:
        """Tasks that it was made with."""
        return sum(stop - start for _, start, stop in self.pieces)

    @property
    def started(self) -> int:
        """Tasks that the code has begun."""
        return self.size - self.cut - len(self.unstarted)


@dataclass(slots=True)
class Run:
    """Let the user's code have this."""

    work: Work


@dataclass(slots=True)
class Reclaim:
    """Stop this work early, then say ``reclaimed(work, started)``."""

    work: Work


@dataclass(slots=True)
class EndJob:
    """The job is over here: let its state go."""

    job: bytes


@dataclass(slots=True)
class Spill:
    """Put the contents of a waiting batch on disk, until it is handed out as work."""

    batch: Batch


@dataclass(slots=True)
class Store:
    """Append to the job's spool and sync as its durability says, then say ``stored(token)``."""

    job: bytes
    token: int
    batch: Batch
    durability: str


@dataclass(slots=True)
class Note:
    """Append to the job's spool, in order: a stamp that counts from there on, or the cursor."""

    job: bytes
    stamp: Stamp | None
    cursor: int


@dataclass(slots=True)
class Drop:
    """Delete the job's spool."""

    job: bytes


@dataclass(slots=True)
class ForgetDamaged:
    """The broker knows that these jobs' spools were damaged."""

    jobs: list[bytes]


@dataclass(slots=True)
class Deliver:
    """Send results to a client: the head is ready, the contents are in the pieces."""

    client: bytes
    results: Results
    pieces: list[tuple[int, int, int]]
    """(token of a stored batch, start, stop)."""
    fails: list[tuple[int, int, int]] = field(default_factory=list)
    """(index, token of a stored batch, which of its failures) of results that are failures, beside those
    that ``results`` has."""


@dataclass(slots=True)
class Record:
    """Write to the ledger before any effect after this one leaves the process."""

    op: str
    args: tuple[Any, ...]


@dataclass(slots=True)
class Load:
    """Read a chunk of roots from the ledger, then say ``loaded``."""

    job: bytes
    seq: int


@dataclass(slots=True)
class Confirm:
    """Answer a request once everything before it is in the ledger."""

    to: bytes
    message: Message


@dataclass(slots=True)
class Reply:
    """Answer now: this depends on nothing that is still to be written."""

    to: bytes
    message: Message


@dataclass(slots=True)
class LogLine:
    """What happened at a broker, for ``zturbo logs``."""

    level: str
    source: str
    job: bytes
    """The job that it is about; empty for none."""
    text: str


@dataclass(slots=True)
class Exit:
    """Leave: this incarnation is fenced, or was told to stop."""

    reason: str
    code: int


Effect = (
    Send
    | Control
    | Run
    | Reclaim
    | EndJob
    | Spill
    | Store
    | Note
    | Drop
    | Deliver
    | ForgetDamaged
    | Record
    | Load
    | Confirm
    | Reply
    | LogLine
    | Exit
)
