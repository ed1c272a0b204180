"""Python's collector of garbage in a process that has very many objects.

It looks at all objects each time that these have grown by a quarter. With a million queued jobs that takes
seconds, in which the process answers nobody. So what has survived a collection that took long is not looked
at again: it is freed when nothing refers to it any more, as all objects are, but not if it is in a cycle.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import perf_counter

__all__ = ["LONG", "spare_survivors"]

LONG = 0.02
"""Seconds that a collection may take; the survivors of a longer one are left alone."""


def spare_survivors(longest: float = LONG) -> Callable[[], None]:
    """Leave alone what survives a long collection, in this process, from now on.

    Its objects must be free of cycles that end before the process does.

    Args:
        longest: seconds of a collection whose survivors are looked at again.

    Returns:
        A function that ends this, and lets all objects be looked at again.
    """
    began = 0.0

    def look(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if info["generation"] < 2:
            return
        if phase == "start":
            began = perf_counter()
        elif perf_counter() - began > longest:
            gc.freeze()

    def end() -> None:
        gc.callbacks.remove(look)
        gc.unfreeze()

    gc.callbacks.append(look)
    return end
