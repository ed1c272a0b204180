"""What the time of a worker's main thread goes to: code, input, held back, zturbo itself.

The thread says what begins, a few times for each batch of tasks. Another thread may read the sums at any
time.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zturbo.runtime.code.recorder import Recorder

__all__ = ["CODE", "HELD", "INPUT", "OWN", "Laps", "Pressure"]

CODE, INPUT, HELD, OWN = range(4)
"""The stage's code runs; no input is at hand; what follows takes no more; zturbo itself."""

Spent = tuple[float, float, float, float]
"""Seconds of each of these."""


class Pressure:
    """For how long the senders were pressed in all, so that a worker got no input: it was held back.

    The I/O thread sets it, and the main thread reads it.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state: tuple[float | None, float] = (None, 0.0)
        """Since when they are pressed, and the seconds before that: one value, for both threads."""

    def note(self, pressed: bool, now: float) -> None:
        """The senders are pressed now, or not."""
        since, total = self._state
        if pressed is (since is None):
            self._state = (now, total) if since is None else (None, total + max(0.0, now - since))

    def total(self, now: float) -> float:
        """Seconds up to now."""
        since, total = self._state
        return total if since is None else total + max(0.0, now - since)


class Laps:
    """A stop-watch with four sums.

    Args:
        pressed: seconds, up to a time, in which a thread without input was held back.
    """

    __slots__ = ("_pressed", "_state", "recorder")

    def __init__(self, pressed: Callable[[float], float] = lambda now: 0.0) -> None:
        self._pressed = pressed
        self.recorder: Recorder | None = None
        """Gets a lap each time that a record of the trace is due."""
        now = perf_counter()
        self._state: tuple[int, float, float, Spent] = (OWN, now, 0.0, (0.0, 0.0, 0.0, 0.0))
        """What goes on, since when, the pressure then, and the sums before: one value, for both threads."""

    def turn(self, kind: int, waited: float | None = None) -> int:
        """Something else begins. Returns what went on before. For the main thread alone.

        Args:
            kind: what begins.
            waited: if this thread was without input, for how many seconds it waited: the rest was work of
                zturbo. None if it has waited all the time.
        """
        now = perf_counter()
        state = self._state
        pressed = self._pressed(now) if kind == INPUT else 0.0
        sums = self._sums(state, now)
        if waited is not None and state[0] == INPUT:
            worked = max(0.0, now - state[1] - waited)
            code, empty, held, own = sums
            from_held = max(0.0, worked - (empty - state[3][1]))
            sums = (code, empty - worked + from_held, held - from_held, own + worked)
        self._state = (kind, now, pressed, sums)
        recorder = self.recorder
        if recorder is not None and now >= recorder.due:
            recorder.record(state[1], state[3], now, sums)
        return state[0]

    @property
    def owes(self) -> bool:
        """Whether the trace has yet to tell of some work."""
        return self.recorder is not None and self.recorder.owes

    def _sums(self, state: tuple[int, float, float, Spent], now: float) -> Spent:
        kind, since, pressed, (code, waited, held, own) = state
        lap = now - since
        if lap <= 0.0:
            return state[3]
        if kind == CODE:
            return code + lap, waited, held, own
        if kind == OWN:
            return code, waited, held, own + lap
        if kind == HELD:
            return code, waited, held + lap, own
        back = min(lap, max(0.0, self._pressed(now) - pressed))
        return code, waited + lap - back, held + back, own

    def read(self) -> Spent:
        """Seconds of each kind up to now. For any thread."""
        return self._sums(self._state, perf_counter())
