"""Where each task is in a simulated worker: looked at after each event, and compared with the table."""

from __future__ import annotations

from zturbo.core.worker.held_roots import InputKey
from zturbo.core.worker.machine import WorkerMachine
from zturbo.core.worker.places import PLACES, Located, TaskPlace

__all__ = ["Tracker"]

P = TaskPlace

PASSED = {P.ARRIVED, P.QUEUED, P.ASIDE, P.WAITING, P.FINISHED}
"""Places that a task may come to and leave in one event. No event both gives the code a task and hears that
it is finished or taken back, nor gives a task back and hears that its sender has it."""


def _ways() -> set[tuple[TaskPlace, TaskPlace]]:
    """(from, to) of all that may happen to a task in one event."""
    ways = set(PLACES.transitions)
    for middle in PASSED:  # Warshall's algorithm: each place in turn may stand between two others
        ways |= {(a, c) for a, b in ways if b is middle for b2, c in ways if b2 is middle}
    return ways


WAYS = _ways()


class Tracker:
    """Knows where each task of one worker was, and asserts that it came from there by the table.

    Args:
        machine: the worker's.
    """

    def __init__(self, machine: WorkerMachine) -> None:
        self._machine = machine
        self._seen: dict[InputKey, tuple[list[tuple[int, int, TaskPlace]], bool, int]] = {}
        """Batch -> what was seen last: where its tasks are, whether it is in custody, how many wait."""
        self._places: dict[InputKey, dict[int, TaskPlace]] = {}
        """Batch -> task -> its place, of batches of which something is not gone."""
        self._gone: set[InputKey] = set()
        self._last: tuple[list[Located], dict[InputKey, int]] = ([], {})
        """What the machine told last; of most events it is the same."""

    def look(self) -> None:
        """An event is over."""
        located, waiting = self._machine.located(), self._machine.sequenced.waiting.tasks()
        custody = self._machine.arrivals.custody
        if (located, waiting) == self._last:
            for key, (_, kept, _) in self._seen.items():
                if kept is not (key in custody):
                    break
            else:
                return
        self._last = located, waiting
        parts: dict[InputKey, list[tuple[int, int, TaskPlace]]] = {}
        for key, start, stop, place in located:
            parts.setdefault(key, []).append((start, stop, place))
        for key in {*parts, *waiting, *self._seen}:
            now = (parts.get(key, []), key in custody, waiting.get(key, 0))
            if now != (before := self._seen.get(key)):
                self._move(key, now, 0 if before is None else before[2], new=before is None)

    def _move(
        self,
        key: InputKey,
        now: tuple[list[tuple[int, int, TaskPlace]], bool, int],
        waited: int,
        *,
        new: bool,
    ) -> None:
        parts, kept, waiting = now
        assert key not in self._gone, f"{key} was gone, and is here again"
        here = {index: place for start, stop, place in parts for index in range(start, stop)}
        places = self._places.setdefault(key, {})
        handed = len(here.keys() - places.keys())
        if (
            not new and not kept
        ):  # an ordered stage: which of a batch's tasks wait is not known, only how many
            fits = waiting + handed == waited or not waiting
            assert fits, f"{waited} tasks of {key} waited; {handed} were handed out, and {waiting} wait"
        for index in here.keys() | places.keys():
            old = places.get(index, P.WAITING if waited else P.ARRIVED)
            place = here.get(index) or self._out(old, kept)
            assert old is place or (old, place) in WAYS, f"task {index} of {key}: {old} -> {place}"
            places[index] = place
        self._seen[key] = now
        if not waiting and not kept and all(place is P.GONE for place in places.values()):
            del self._seen[key], self._places[key]
            self._gone.add(key)

    @staticmethod
    def _out(old: TaskPlace, kept: bool) -> TaskPlace:
        """The place of a task that is nowhere; ``kept``: its batch is in custody."""
        assert not (kept and old in (P.QUEUED, P.ASIDE)), f"a task was {old}, and is lost"
        return P.FINISHED if kept and old in (P.HANDED, P.FINISHED) else P.GONE
