"""Results of jobs that travel together: taken from the results of their carrier, and given to each job.

A carrier's results come in the order in which its roots end, with the ends of roots between them. The results
of one root are those of one job. They may be spread over several messages.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from zturbo.core.result_stream import ResultStream
from zturbo.slotted import replace
from zturbo.wire.blobs import edges
from zturbo.wire.carried import carried_id
from zturbo.wire.messages import Results

__all__ = ["Together"]


class _Piece(NamedTuple):
    """Results of one message, from one of them on."""

    results: Results
    contents: list[int]
    """Edges of the contents in the message; empty where it has one content with buffers."""
    metas: list[int]


class Together:
    """The jobs of one carrier, at the client that submitted them.

    Args:
        carrier: its id.
        count: how many jobs it carries.
        token: of the reader of the carrier, and of the first reader of each job.
    """

    def __init__(self, carrier: bytes, count: int, token: int) -> None:
        self.carrier = carrier
        self.count = count
        self.token = token
        self.stream = ResultStream(carrier, token, 0)
        self.ended: set[int] = set()
        """Roots whose results are here, and with them their jobs."""
        self._pieces: deque[_Piece] = deque()
        """What is here of roots that have not ended, as far as is known."""
        self._start = 0
        """Index of the first result that belongs to no root that has ended."""
        self._place: tuple[bytes, int] | None = None
        """(sink, epoch) of the carrier when it last had a sink."""

    @property
    def complete(self) -> bool:
        """Whether all of its jobs have ended."""
        return len(self.ended) == self.count

    @property
    def problem(self) -> str | None:
        """Why the ends of other jobs will not be heard of here; None if they will. Else they have to be read
        by their ids."""
        if self.stream.complete and not self.complete:
            return "a message was lost that told which jobs have ended"
        return None

    def fits(self, sink: bytes, epoch: int) -> bool:
        """Whether the carrier's results at this sink, in this epoch, are those that it had so far, and more.

        A sink that comes back has the same results, and so has one in a later epoch. Where both are new, the
        carrier was run again, since its results were lost: its roots have ended in another order.
        """
        before, self._place = self._place, (sink, epoch)
        return before is None or sink == before[0] or epoch == before[1]

    def take(self, message: Results, nbytes: int, now: float) -> list[tuple[bytes, list[Results]]]:
        """Take a message of the carrier's results.

        One that comes after a lost message is not taken: it comes again, after that.

        Args:
            message: results, with the ends of roots.
            nbytes: its size.
            now: monotonic seconds.

        Returns:
            (job, all of its results) of each job that has ended with it.

        Raises:
            DecodeError: contents are malformed.
        """
        skip = self.stream.results(message, nbytes, now)
        if skip is not None:
            self.stream.take(message.n - skip)
            n = message.n - len(message.fails)
            contents = [] if message.buffers else edges(message.blob, n)
            self._pieces.append(_Piece(message, contents, edges(message.metas, n) if message.metas else []))
        elif message.token != self.token or message.first > self.stream.next:
            return []
        out = []
        for root, stop in message.roots:
            if root < self.count and root not in self.ended and stop >= self._start:
                self.ended.add(root)
                out.append((carried_id(self.carrier, root), self._results(root, stop)))
        return out

    def _results(self, root: int, stop: int) -> list[Results]:
        """The results of a root, which end before this index."""
        job, first = carried_id(self.carrier, root), self._start
        parts: list[Results] = []
        while self._start < stop and self._pieces:
            piece = self._pieces[0]
            end = min(stop, piece.results.first + piece.results.n)
            if self._start < end:
                parts.append(_cut(piece, self._start, end, job, self.token, first))
                self._start = end
            if end == piece.results.first + piece.results.n:
                self._pieces.popleft()
        parts = parts or [Results(job, self.token, 0, 0)]
        parts[-1].total = stop - first
        return parts


def _cut(piece: _Piece, start: int, stop: int, job: bytes, token: int, base: int) -> Results:
    """The results ``start .. stop`` of a message, as those of a job whose first result has index ``base``."""
    whole = piece.results
    if start == whole.first and stop == whole.first + whole.n:
        fails = [(index - base, error) for index, error in whole.fails]
        return replace(
            whole, job=job, token=token, first=start - base, fails=fails, total=None, riders=[], roots=()
        )
    fails = [(index, error) for index, error in whole.fails if start <= index < stop]
    low = start - whole.first - sum(index < start for index, _ in whole.fails)
    high = low + stop - start - len(fails)
    blob = memoryview(whole.blob)[piece.contents[low] : piece.contents[high]]
    metas = None if whole.metas is None else whole.metas[piece.metas[low] : piece.metas[high]]
    return Results(
        job,
        token,
        start - base,
        stop - start,
        blob,
        metas,
        fails=[(index - base, error) for index, error in fails],
    )
