"""Ids of jobs that travel together: many small jobs as the roots of one job, their *carrier*.

A carrier's id ends with :data:`PLACE` zero bytes. The id of a job that it carries has its number there, from
1 on, in place of the zeros: the job's only root is the carrier's root of that number less one.
"""

from __future__ import annotations

__all__ = ["MAX_CARRIED", "PLACE", "carried_id", "place_of"]

PLACE = 2
"""Bytes at the end of an id that say which job of a carrier it is."""

MAX_CARRIED = 1024
"""Most jobs of one carrier."""


def carried_id(carrier: bytes, root: int) -> bytes:
    """Id of the job whose root is this one of a carrier.

    Args:
        carrier: id of the carrier, 16 bytes of which the last are zeros.
        root: number of the root, from 0 on.
    """
    return carrier[:-PLACE] + (root + 1).to_bytes(PLACE, "big")


def place_of(job: bytes) -> tuple[bytes, int]:
    """(id of the carrier, root) of a job, if it is carried; the root is -1 for the id of a carrier itself."""
    return job[:-PLACE] + bytes(PLACE), int.from_bytes(job[-PLACE:], "big") - 1
