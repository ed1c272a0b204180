"""Ids of jobs that travel together: many small jobs as the roots of one job, their *carrier*.

The bytes of an id are a place (:data:`PLACE` bytes), and the rest, which all jobs of a carrier share with it.
A place is the first bytes of the rest, xor a number: 0 for the carrier, and from 1 on for the jobs that it
carries. A job's only root is the carrier's root of its number less one. So ids of jobs that travel together
differ in their first digits, which are shown to people, and so do those of jobs that travel alone.
"""

from __future__ import annotations

__all__ = ["MAX_CARRIED", "PLACE", "carried_id", "carrier_id", "place_of"]

PLACE = 2
"""Bytes at the beginning of an id that say which job of a carrier it is."""

MAX_CARRIED = 1024
"""Most jobs of one carrier."""


def carrier_id(rest: bytes) -> bytes:
    """Id of the carrier with this rest.

    Args:
        rest: 14 bytes, which no other carrier has.
    """
    return rest[:PLACE] + rest


def carried_id(carrier: bytes, root: int) -> bytes:
    """Id of the job whose root is this one of a carrier.

    Args:
        carrier: id of the carrier.
        root: number of the root, from 0 on.
    """
    return (_number(carrier) ^ (root + 1)).to_bytes(PLACE, "big") + carrier[PLACE:]


def place_of(job: bytes) -> tuple[bytes, int]:
    """(id of the carrier, root) of a job, if it is carried; the root is -1 for the id of a carrier itself."""
    rest = job[PLACE:]
    return carrier_id(rest), (_number(job) ^ _number(rest)) - 1


def _number(raw: bytes) -> int:
    return int.from_bytes(raw[:PLACE], "big")
