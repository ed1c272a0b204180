"""Jobs that end because the client that feeds them has gone silent.

No event of one job looks at the others: there may be a million of them.
"""

from __future__ import annotations

__all__ = ["Feeds"]


class Feeds:
    """Jobs that clients feed, and when each of these clients was last heard.

    Args:
        patience: seconds that a client may be silent while it feeds a job.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._jobs: dict[bytes, dict[bytes, None]] = {}
        """Client -> its jobs whose feed is open, in the order of submitting."""
        self._heard: dict[bytes, float] = {}
        """Client -> when it was last heard; the one that has been silent for longest comes first."""

    def open(self, client: bytes, job: bytes, now: float) -> None:
        """This client begins to feed this job."""
        self._jobs.setdefault(client, {})[job] = None
        self.heard(client, now)

    def close(self, client: bytes, job: bytes) -> None:
        """All of its roots are here, or the job has ended."""
        jobs = self._jobs.get(client, {})
        jobs.pop(job, None)
        if not jobs:
            self._jobs.pop(client, None)
            self._heard.pop(client, None)

    def heard(self, client: bytes, now: float) -> None:
        """The client was heard."""
        if client in self._jobs:
            self._heard.pop(client, None)
            self._heard[client] = now

    def first(self) -> float | None:
        """When the client that has been silent for longest counts as gone."""
        for at in self._heard.values():
            return at + self.patience
        return None

    def due(self, now: float) -> list[bytes]:
        """Jobs whose client counts as gone. Each is returned once."""
        jobs: list[bytes] = []
        while (at := self.first()) is not None and at <= now:
            client = next(iter(self._heard))
            del self._heard[client]
            jobs += self._jobs.pop(client)
        return jobs
