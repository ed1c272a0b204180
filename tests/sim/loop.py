"""An asyncio loop on the world's clock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from tests.sim.network import Clock

__all__ = ["SimLoop"]


class SimLoop(asyncio.AbstractEventLoop):
    """As much of a loop as coroutines, futures and ``asyncio.sleep`` need; each turn is one of its events.

    Args:
        clock: the world's.
        turn: lets a turn happen: called when there is something to run; it calls :meth:`step` in its time.
    """

    def __init__(self, clock: Clock, turn: Callable[[], None]) -> None:
        self._clock = clock
        self._turn = turn
        self._ready: deque[asyncio.Handle] = deque()
        self._asked = False
        self._stopped = False
        self._running = False

    def time(self) -> float:
        return self._clock.now

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **_: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self)
        task._log_destroy_pending = False  # type: ignore[attr-defined] # it ends with the worker that dies
        return task

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._add(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._clock.at(when, lambda: None if handle.cancelled() else self._add(handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def _add(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)
        if not self._asked:
            self._asked = True
            self._turn()

    def step(self) -> None:
        """One turn: what is ready now, and not what becomes so meanwhile."""
        self._asked = False
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        self._running = True
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled() and not self._stopped:
                    handle._run()
        finally:
            asyncio._set_running_loop(outer)
            self._running = False
        if self._ready and not self._asked:
            self._asked = True
            self._turn()

    def stop(self) -> None:
        self._stopped = True

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def close(self) -> None: ...

    def run_until_complete(self, future: Any) -> Any:
        """Only what does not wait for the clock: ``init``."""
        task = self.create_task(future) if isinstance(future, Coroutine) else future
        while not task.done():
            assert self._ready, "it waits for the clock"
            self.step()
        return task.result()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What a callback raised is a bug; what a dead worker's tasks raised is nobody's."""
        if "handle" in context:
            raise context["exception"]
