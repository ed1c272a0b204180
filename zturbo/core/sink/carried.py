"""One job of those that travel together, as a reader sees it at a sink: a few of its carrier's results."""

from __future__ import annotations

from zturbo.core.sink.job import JobReader, RootEnds, SinkJob
from zturbo.slotted import field, slotted
from zturbo.wire.carried import carried_id
from zturbo.wire.messages import Stamp

__all__ = ["CarriedJob"]


@slotted
class CarriedJob:
    """A job whose only root is a root of its carrier, as long as a client reads it by its own id.

    Its results are those of the root, counted from 0. How far they were taken is not noted in the spool.
    """

    carrier: SinkJob
    root: int
    reader: JobReader | None = None
    viewers: dict[bytes, JobReader] = field(default_factory=dict)
    cursor: int = 0
    noted: tuple[float, int] = (0.0, 0)
    ends: RootEnds = field(default_factory=RootEnds)
    """Always empty: it has one root."""

    @property
    def id(self) -> bytes:
        """Its id."""
        return carried_id(self.carrier.id, self.root)

    @property
    def stamp(self) -> Stamp:
        """The carrier's."""
        return self.carrier.stamp

    def _where(self) -> tuple[int, int] | None:
        """Where its results lie among the carrier's; None while they may not be given out."""
        where = self.carrier.ends.where(self.root)
        return where if where is not None and where[1] <= self.carrier.servable else None

    @property
    def over(self) -> bool:
        """Whether all of its results are here, and may be given out."""
        return self._where() is not None and self.carrier.failure is None

    @property
    def released(self) -> int:
        """Its results, once all are here."""
        start, stop = self._where() or (0, 0)
        return stop - start

    @property
    def servable(self) -> int:
        """Results that may be given out."""
        return self.released

    @property
    def small(self) -> bool:
        """Whether its reader gets all results unasked: its carrier's reader does."""
        return False

    @property
    def told(self) -> bool:
        """Whether all who have asked for it have all of it."""
        readers = [*self.viewers.values(), *([] if self.reader is None else [self.reader])]
        return all(reader.told_total for reader in readers)

    def take(self, index: int) -> None:
        """A client has all results below this index."""

    def between(
        self, first: int, stop: int
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]], list[tuple[int, bytes]]]:
        """Where these results lie: as :meth:`~zturbo.core.sink.job.ResultIndex.between`."""
        start, _ = self._where() or (0, 0)
        pieces, fails, own = self.carrier.between(start + first, start + stop)
        return (
            pieces,
            [(index - start, token, nth) for index, token, nth in fails],
            [(index - start, error) for index, error in own],
        )
