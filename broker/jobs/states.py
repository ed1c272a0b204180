"""The states of a job, and which may follow which.

waiting -> running -> done
   ^          |
   +----------+   a stamped worker or sink was lost: a higher epoch
waiting, running -> failed | cancelled
"""

from __future__ import annotations

from zturbo.errors import ZturboError

__all__ = ["TRANSITIONS", "InvalidTransition", "check_transition"]

TRANSITIONS: dict[str, frozenset[str]] = {
    "waiting": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"waiting", "done", "failed", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""State -> states that may follow."""


class InvalidTransition(ZturboError):
    """A job was to go where it cannot: a bug of the broker's."""


def check_transition(before: str, after: str) -> None:
    """Raise InvalidTransition unless ``after`` may follow ``before``."""
    if after not in TRANSITIONS.get(before, frozenset()):
        raise InvalidTransition(f"a job cannot go from {before} to {after}")
