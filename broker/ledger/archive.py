"""The ledger as the archive of the broker's machine: jobs that have left memory."""

from __future__ import annotations

from zturbo_broker.jobs.job import Job
from zturbo_broker.ledger.ledger import Ledger
from zturbo_broker.ledger.rows import job_of

__all__ = ["LedgerArchive"]


class LedgerArchive:
    """Reads jobs that have ended. Their roots are gone, so their rows are all that there is.

    Args:
        ledger: the ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def find(self, *jobs: bytes) -> Job | None:
        """The first of these jobs that there is, as it was committed; None if there is none."""
        row = self._ledger.job(*jobs)
        return None if row is None else job_of(row, self._ledger.chunk_index(row.id))

    def ended(self, before: int | None, most: int) -> list[Job]:
        """Jobs that have ended, the one that was submitted last first; see :class:`.Archive`."""
        return [job_of(row, []) for row in self._ledger.ended_jobs(before, most)]
