"""What a sink has stored of one job: where each batch lies, and which contents stay in shared memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from zturbo.runtime.disk.spool import Location, Spool
from zturbo.runtime.shared.kept import KeptContents
from zturbo.wire.codec import decode
from zturbo.wire.messages import Batch, Buffer, DataMessage

__all__ = ["StoredJob", "message_of"]


class StoredJob:
    """A job's spool, and where in it each batch lies: 24 bytes for each.

    Args:
        spool: the job's.
        contents: what the sink has kept in shared memory.
    """

    __slots__ = ("_contents", "kept", "lengths", "offsets", "spool", "tokens")

    def __init__(self, spool: Spool, contents: KeptContents) -> None:
        self.spool = spool
        self._contents = contents
        self.kept: dict[int, tuple[int, list[int]]] = {}
        """Batch with kept contents -> its results that are needed still, and the segments."""
        self.tokens = array("q")
        self.offsets = array("q")
        self.lengths = array("q")

    def numbers(self) -> list[int]:
        """Segments that its records name."""
        return [number for _, numbers in self.kept.values() for number in numbers]

    def free(self, pieces: Sequence[tuple[int, int, int]]) -> list[int]:
        """Nobody needs these results any more. Returns batches with kept contents that nobody needs."""
        free = []
        for token, start, stop in pieces:
            if token in self.kept:
                left, numbers = self.kept[token]
                self.kept[token] = left - (stop - start), numbers
                if left <= stop - start:
                    free.append(token)
        return free

    def add(self, token: int, location: Location) -> None:
        """Note a batch that was stored; tokens count up."""
        self.tokens.append(token)
        self.offsets.append(location.offset)
        self.lengths.append(location.length)

    def read(self, token: int) -> Batch:
        """Read a batch from the file."""
        at = bisect_left(self.tokens, token)
        frames = self.spool.read(Location(self.offsets[at], self.lengths[at]))
        message = message_of(self._contents.frames(frames))
        assert type(message) is Batch
        return message


def message_of(frames: Sequence[Buffer]) -> DataMessage:
    """The message whose frames a record has."""
    return decode([bytes(frames[0]), *frames[1:]])
