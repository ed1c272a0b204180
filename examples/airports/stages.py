"""Stages over 28,000 airports: a function that fans out, a batch in one matrix product, an ordered reduce."""

from __future__ import annotations

from collections.abc import Iterator

import airportsdata
import numpy as np

from zturbo import BatchStage, ReorderStage, Task

AIRPORTS = airportsdata.load()


def by_country(country: str) -> Iterator[Task]:
    """Give a task for each airport of a country; the last one is marked as the last."""
    codes = [code for code, row in AIRPORTS.items() if row["country"] == country]
    for code in codes:
        yield Task(code, {"country": country, "last": code == codes[-1]})


class Nearest(BatchStage):
    """Finds the nearest other airport, where a flight may divert to, for a batch of airports at once."""

    max_batch = 256

    def init(self, worker_id: int = 0) -> None:
        """Make unit vectors of the positions of all airports."""
        self.codes = list(AIRPORTS)
        self.rows = {code: row for row, code in enumerate(self.codes)}
        lat, lon = np.radians([(row["lat"], row["lon"]) for row in AIRPORTS.values()]).T
        self.places = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)

    def process_batch(self, tasks: list[Task]) -> list[Task]:
        """Give [code, code of the nearest other airport, kilometres] for each airport."""
        rows = [self.rows[task.content] for task in tasks]
        cosines = self.places[rows] @ self.places.T
        cosines[range(len(rows)), rows] = -1  # an airport is not its own neighbour
        nearest = cosines.argmax(axis=1)
        km = 6371 * np.arccos(np.minimum(cosines.max(axis=1), 1))
        found = zip(tasks, nearest, km.round().tolist(), strict=True)
        return [Task([t.content, self.codes[i], int(d)], parent_task=t) for t, i, d in found]


class Remotest(ReorderStage):
    """Gives for each country, in order, its number of airports and the one farthest from any other."""

    def reset(self) -> None:
        """Begin with no airports."""
        self.count, self.best = 0, ["", "", -1]

    def process(self, task: Task) -> Task | None:
        """Give a country's row with its last airport."""
        self.count, self.best = self.count + 1, max(self.best, task.content, key=lambda found: found[2])
        row = [task.meta["country"], self.count, *self.best]
        if task.meta["last"]:
            self.reset()
        return Task(row) if task.meta["last"] else None
