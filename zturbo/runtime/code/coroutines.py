"""The event loop of a stage that is ``async def``, which runs coroutines one by one, each to its end.

Debug mode and ordered stages run coroutines so. :mod:`zturbo.runtime.code.overlapping` runs many at a time.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from zturbo.api.stage_kinds import settled
from zturbo.api.task import Task
from zturbo.runtime.process.descriptors import opened

__all__ = ["END", "LAST_CHANCE", "Coroutines", "next_of"]

T = TypeVar("T")

END: Any = object()

LAST_CHANCE = 0.5
"""Seconds that a coroutine has after its CancelledError."""


class Coroutines:
    """An event loop for one stage's code in one process. It is closed with the last reference to this.

    Args:
        loop: default: a new one.

    Attributes:
        fds: the descriptors of a loop that was made here.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        before = opened()
        self.loop = asyncio.new_event_loop() if loop is None else loop
        self.fds = opened() - before
        weakref.finalize(self, self.loop.close)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function while the loop runs, and await its result if that is awaitable."""
        return self._to_end(settled(function, *args))

    def one_by_one(self, process: Callable[[Task], Any]) -> Callable[[Task], Any]:
        """``process`` as a plain function, which gives a plain iterator in place of an asynchronous one."""

        def run(task: Task) -> Any:
            result = self.call(process, task)
            return self._children(result) if isinstance(result, AsyncIterable) else result

        return run

    def _children(self, source: Any) -> Iterator[Any]:
        children = aiter(source)
        try:
            while (child := self._to_end(next_of(children))) is not END:
                yield child
        finally:
            if hasattr(children, "aclose"):
                self._to_end(children.aclose())

    def _to_end(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._run(coroutine)
        return self._elsewhere(coroutine)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine; it ends too if the loop passes on another one's exit or interrupt."""
        task = self.loop.create_task(coroutine)
        try:
            return self.loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                task.cancel()
                self.loop.run_until_complete(asyncio.wait([task], timeout=LAST_CHANCE))
            raise

    def _elsewhere(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in another thread: in this one a loop runs already, such as a notebook's."""
        given: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                given.append(self._run(coroutine))
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run, name="coroutine", daemon=True)
        thread.start()
        thread.join()
        if raised:
            raise raised[0]
        return given[0]


async def next_of(children: Any) -> Any:
    """The next of an asynchronous iterator; END if there is none."""
    return await anext(children, END)
