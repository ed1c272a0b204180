"""A job as the broker has it in memory."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from typing import Any

from zturbo.jobstates import ENDED, WHY_CANCELLED, JobState
from zturbo.slotted import field, slotted
from zturbo.wire.control.fields import COUNT
from zturbo.wire.messages import NOTHING_TAKEN, Batch, Mark, Path, Stamp, Taken
from zturbo_broker.jobs.placement import Placed

__all__ = ["Chunks", "Job"]


class Chunks:
    """Where a job's roots lie. A chunk costs 16 bytes here, since there may be millions of chunks."""

    __slots__ = ("_nbytes", "_stops", "first", "nbytes", "start", "trimmed")

    def __init__(self) -> None:
        self._stops = array("q")
        self._nbytes = array("q")
        self.first = 0
        """The first root: 0, or -1 for a job's single one, which has no number in its path."""
        self.nbytes = 0
        """Bytes of the chunks that are here."""
        self.trimmed = 0
        """How many of the first chunks are here no more."""
        self.start = 0
        """The first root of the others, if some are gone."""

    def __len__(self) -> int:
        return self.trimmed + len(self._stops)

    def append(self, first: int, n: int, nbytes: int) -> None:
        """The next chunk."""
        if not self._stops and not self.trimmed:
            self.first = first
        self._stops.append(first + n)
        self._nbytes.append(nbytes)
        self.nbytes += nbytes

    def __getitem__(self, seq: int) -> tuple[int, int, int]:
        """(first root, roots, bytes) of a chunk that is here."""
        at = seq - self.trimmed
        first = self._stops[at - 1] if at else self.start if self.trimmed else self.first
        return first, self._stops[at] - first, self._nbytes[at]

    @property
    def total(self) -> int:
        """Roots in all chunks, with those that are gone."""
        return (self._stops[-1] if self._stops else self.start) - self.first

    @property
    def here(self) -> int:
        """Roots in the chunks that are here."""
        return self.total - (self.start - self.first if self.trimmed else 0)

    def find(self, root: int) -> int:
        """Number of the chunk that has this root."""
        return self.trimmed + bisect_right(self._stops, root)

    def trim(self, seq: int) -> int:
        """The chunks before this one are here no more. Returns their bytes."""
        n = seq - self.trimmed
        if n <= 0:
            return 0
        nbytes = sum(self._nbytes[:n])
        self.start = self._stops[n - 1]
        del self._stops[:n], self._nbytes[:n]
        self.trimmed = seq
        self.nbytes -= nbytes
        return nbytes


@slotted
class Job:
    """One job: what its client asked for, where it runs, how far its roots are."""

    id: bytes
    name: str
    pipeline: str
    client: bytes
    stream: bool
    """Whether its roots come in chunks, as long as the feed is open."""
    options: dict[str, Any]
    digest: bytes
    """Tells a repeated submit from another job under the same id."""
    owner: str = ""
    """Name of the key under which it was submitted; empty without keys."""
    number: int = 0
    """Numbers count up in the order of submission."""
    state: JobState = JobState.WAITING
    story: list[str] = field(default_factory=list)
    """Its last moves from one state to another."""
    waiting: str | None = None
    """What a waiting job waits for, as a sentence's object."""
    epoch: int = 0
    created: float = 0.0
    """Wall time, for the record only."""
    ended: float = 0.0
    """Wall time of its end, for the record only; 0.0 before."""
    chunks: Chunks = field(default_factory=Chunks)
    chunks_were: int = 0
    """How many chunks it had, after the ledger has dropped them."""
    total: int = 0
    """Roots so far; all of them once the feed is closed."""
    closed: bool = False
    placed: Placed | None = None
    stamp: Stamp | None = None
    results: int = 0
    failed: int = 0
    error_kind: str | None = None
    error: str | None = None
    ended_at: float = 0.0
    todo: deque[tuple[int, int]] = field(default_factory=deque)
    """Roots that are to be sent in this epoch, as half-open ranges, in order."""
    ended_roots: bool = False
    """Whether the END of all roots has been sent in this epoch."""
    cache: dict[int, Batch] = field(default_factory=dict)
    loading: set[int] = field(default_factory=set)
    backlog: int = 0
    """Roots in ``todo``."""
    owed_acks: list[tuple[bytes, int]] = field(default_factory=list)
    """(identity, ref) of feeds that are answered when the backlog is smaller."""
    recovering: bool = False
    """After a broker's restart: it is not known yet which roots have to go again."""
    marks: tuple[Mark, ...] = ()
    strikes: dict[tuple[int, Path], list[tuple[int, str]]] = field(default_factory=dict)
    """(stage, path) -> (outputs given, what happened) of each death of a worker that ran this task."""
    incidents: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    """Deaths and losses, and what the broker did about them, as sentences."""
    retries: int = 0
    """How often it has been started over for its failed tasks."""
    wild: bool = False
    """Whether it has run on a stage that is not deterministic: another run may give other outputs."""
    failures_known: bool = True
    """Whether it is known which failures of earlier epochs were given out; until then no roots are sent."""
    counted: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Stage -> (outputs, failures and drops together; failures alone) in this epoch. It counts workers that
    report no more: dead ones and, once all last counts of an ended job are here, all of them."""
    counts_final: bool = False
    """Whether the job has ended, and no last counts are awaited."""
    reader: int = 0
    """Token of its client's first reader, to which a sink sends few and small results unasked; 0 for none."""
    paused_until: float = 0.0
    """Monotonic time until which no roots are sent, because too many of its results are not read yet."""
    logged: tuple[JobState, int] | None = None
    """State and epoch of which the log has a line."""
    large: bool = False
    """Whether its results are so large that they are not kept for its failed tasks alone."""
    let_go_of: bool = False
    """Whether its client needs its results no more, and the job stays in the list."""
    carries: int = 0
    """How many jobs it carries, each of which is one of its roots; 0 if it is a job of its own."""
    cancelled: set[int] = field(default_factory=set)
    """Roots of carried jobs that a client has cancelled."""
    let_go: set[int] = field(default_factory=set)
    """Roots of carried jobs whose results are needed no more."""
    taken: Taken = NOTHING_TAKEN
    """Its first roots that are needed no more, since all that they gave was taken."""
    over: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Root of each carried job whose results are all at the sink -> (results, failed tasks). The sink says so
    again in each epoch, and to each broker."""
    names: tuple[str, ...] = ()
    """Names of the jobs that it carries, if they are not all :attr:`name`."""

    def notes(self) -> dict[str, Any]:
        """Facts for the ledger's column ``notes``, which outlive the broker without a column of their own."""
        notes = {
            "marks": self.marks,
            "strikes": [(stage, path, deaths) for (stage, path), deaths in self.strikes.items()],
            "incidents": list(self.incidents),
            "retries": self.retries,
            "wild": self.wild,
            "kept": self.failures_known,
            "counted": [(stage, *numbers) for stage, numbers in self.counted.items()],
            "counts_final": self.counts_final,
            "chunks": self.fed,
            "owner": self.owner,
            "large": self.large,
            "let_go_of": self.let_go_of,
        }
        if self.taken.roots:  # some roots are here no more
            notes |= {"taken": self.taken, "trimmed": (self.chunks.trimmed, self.chunks.start)}
        return notes | self._carried() if self.carries else notes

    def _carried(self) -> dict[str, Any]:
        """What is noted of the jobs that it carries."""
        over = [(root, *numbers) for root, numbers in self.over.items()] if self.state in ENDED else []
        return {
            "carries": self.carries,
            "cancelled": [*self.cancelled],
            "let_go": [*self.let_go],
            "names": self.names,
            "over": over,
        }

    def take_notes(self, notes: dict[str, Any]) -> None:
        """Take the facts of that column."""
        self.marks = tuple(Mark(stage, tuple(path), *rest) for stage, path, *rest in notes["marks"])
        self.strikes = {
            (stage, tuple(path)): [(given, text) for given, text in deaths]
            for stage, path, deaths in notes["strikes"]
        }
        self.incidents.extend(notes["incidents"])
        self.retries = notes["retries"]
        self.wild = notes["wild"]
        self.failures_known = notes["kept"]
        self.counted = {stage: (done, failed) for stage, done, failed in notes.get("counted", ())}
        self.counts_final = notes.get("counts_final", False)
        self.chunks_were = notes.get("chunks", 0)
        self.owner = notes.get("owner", "")
        self.large = notes.get("large", False)
        self.let_go_of = notes.get("let_go_of", False)
        self.taken = Taken(*notes.get("taken", ()))
        self.carries = notes.get("carries", 0)
        self.cancelled = set(notes.get("cancelled", ()))
        self.let_go = set(notes.get("let_go", ()))
        self.names = tuple(notes.get("names", ()))
        self.over = {root: (results, failed) for root, results, failed in notes.get("over", ())}

    def count(self, stage: int, done: int, failed: int) -> None:
        """Add the last counts of a worker of this stage."""
        before = self.counted.get(stage, (0, 0))
        self.counted[stage] = (min(COUNT, before[0] + done), min(COUNT, before[1] + failed))

    def name_of(self, root: int) -> str:
        """Name of the job that is this root of a carrier; with -1, its own."""
        return self.names[root] if self.names and root >= 0 else self.name

    def state_of(self, root: int) -> JobState:
        """State of the job that is this root of a carrier; with -1, its own."""
        if root in self.cancelled:
            return JobState.CANCELLED
        return JobState.DONE if root in self.over and self.state is JobState.RUNNING else self.state

    def error_of(self, root: int) -> tuple[str | None, str | None]:
        """(kind, text) of the error that ended the job that is this root of a carrier; with -1, its own."""
        return WHY_CANCELLED if root in self.cancelled else (self.error_kind, self.error)

    @property
    def results_kept(self) -> bool:
        """Whether its results can be read, once it is done."""
        return not self.let_go_of or (self.failed > 0 and not self.large)

    @property
    def weight(self) -> int:
        """How many jobs of clients it is."""
        return self.carries or 1

    @property
    def fed(self) -> int:
        """How many chunks of roots have come."""
        return len(self.chunks) or self.chunks_were

    @property
    def backlog_bytes(self) -> int:
        """About how many bytes the roots in ``todo`` have."""
        return self.backlog * self.chunks.nbytes // max(1, self.chunks.here)

    @property
    def retries_left(self) -> int:
        """How often it may still be started over."""
        return max(0, int(self.options.get("max_retry", 0)) - self.retries)
