"""Order, for peers that give results as they are ready: a client of theirs would have to do the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["by_window", "in_order", "numbered_jobs"]

T = TypeVar("T")


def in_order(numbered: Iterable[tuple[int, T]]) -> Generator[T, None, None]:
    """Contents in the order of their numbers, which begin at 0."""
    early: dict[int, T] = {}
    due = 0
    for number, content in numbered:
        if number != due:
            early[number] = content
            continue
        yield content
        due += 1
        while early and due in early:
            yield early.pop(due)
            due += 1


def by_window(
    contents: Iterable[Any], in_flight: int, begin: Callable[[Any], T], end: Callable[[T], Any]
) -> Generator[Any, None, None]:
    """Begin work on contents while there is room, and wait for the oldest; results in order.

    Args:
        contents: to work on.
        in_flight: most of them at a time.
        begin: gives a future of some kind.
        end: waits for it, and gives its result.
    """
    futures: deque[T] = deque()
    for content in contents:
        futures.append(begin(content))
        if len(futures) >= in_flight:
            yield end(futures.popleft())
    while futures:
        yield end(futures.popleft())


def numbered_jobs(
    contents: Iterable[Any],
    in_flight: int,
    add: Callable[[int, Any], None],
    take: Callable[[], tuple[int, Any]],
) -> Iterator[Any]:
    """The same for a system with one queue of jobs that have ended.

    Args:
        contents: to work on.
        in_flight: most of them at a time.
        add: begins a job with this number.
        take: waits for a job, and gives its number and result.
    """

    def ended() -> Iterator[tuple[int, Any]]:
        added = taken = 0
        for number, content in enumerate(contents):
            add(number, content)
            added += 1
            if added - taken >= in_flight:
                yield take()
                taken += 1
        for _ in range(added - taken):
            yield take()

    return in_order(ended())
