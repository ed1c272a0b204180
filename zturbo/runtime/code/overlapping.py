"""The runner of a stage that is ``async def``: many tasks at a time on one event loop, in the main thread.

Each task is a coroutine. It puts its outputs out as soon as it has them, under paths of its own, so the order
in which tasks finish does not matter. Between two ``await`` nothing else runs. So a task with an output first
turns the production to its own work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any

from zturbo.api.task import Task
from zturbo.core.effects import EndJob, Work
from zturbo.core.links.outbatch import cut_runs, paths
from zturbo.core.worker.produced import Produced
from zturbo.errors import DecodeError
from zturbo.runtime.code.context import Stale
from zturbo.runtime.code.coroutines import END, LAST_CHANCE, next_of
from zturbo.runtime.code.cutting import start_next
from zturbo.runtime.code.failures import Condemned
from zturbo.runtime.code.instances import StageJob
from zturbo.runtime.code.laps import CODE, INPUT
from zturbo.runtime.code.onetask import log_failed
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.restored import restore, unopened
from zturbo.runtime.code.runner import open_piece
from zturbo.runtime.code.suspended import stacks_of
from zturbo.runtime.code.turns import Turns
from zturbo.wire.messages import Mark, Path
from zturbo.wire.payload import Unreadable

__all__ = ["AsyncRunner"]


class _Here:
    """A job in one epoch, and its tasks that run."""

    def __init__(self, making: asyncio.Task[StageJob]) -> None:
        self.making = making
        self.running: dict[asyncio.Task[None], None] = {}
        self.ended = False


class _Open:
    """A piece of work, and how many of its tasks are not finished."""

    __slots__ = ("left", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        _, start, stop = work.pieces[-1]
        self.left = stop - start


class _Item:
    """One task of a piece of work."""

    __slots__ = ("begun", "content", "count", "index", "meta", "of", "overdue", "path", "seat", "timer")

    def __init__(self, of: _Open, index: int, path: Path, content: Any, meta: Any) -> None:
        self.of = of
        self.index = index
        self.path = path
        self.content = content
        self.meta = meta
        self.begun = 0.0
        """When it began to run."""
        self.count = 0
        """Outputs that it has given, as an asynchronous generator."""
        self.seat = -1
        self.timer: asyncio.TimerHandle | None = None
        self.overdue = False


class AsyncRunner:
    """Runs coroutines, up to the stage's ``max_concurrency`` at a time.

    Args:
        production: takes what the stage's code makes, and knows the stage, whose coroutines' loop is used. It
            gives without waiting.
        free: whether more may be given now; when it is so again, :meth:`wake` is called.
        timeout: seconds that a task may take; None for any.
    """

    def __init__(
        self,
        production: Production,
        *,
        free: Callable[[], bool] = lambda: True,
        timeout: float | None = None,
    ) -> None:
        host = production.host
        assert host.instances.coroutines is not None
        self.host = host
        self.production = production
        self.flush = production.flush
        self.loop = host.instances.coroutines.loop
        self.turns = Turns(self.loop, host.context)
        self._free = free
        self._timeout = timeout
        self._waiting: deque[_Item] = deque()
        self._running: dict[asyncio.Task[None], _Item] = {}
        self._seats = list(reversed(range(host.concurrency)))
        """Those of the running note that are free."""
        self._here: dict[bytes, _Here] = {}
        self._blocked: list[asyncio.Future[None]] = []
        """Of coroutines that wait until more may be given."""
        self._todo: SimpleQueue[Work | EndJob | None] = SimpleQueue()
        self._woken = False
        self._flushing = False
        self._leaving = False

    # -- the thread ---------------------------------------------------------------------------
    def serve(self, todo: SimpleQueue[Work | EndJob | None]) -> None:
        """Run the work in this queue, until it gives None; :meth:`wake` says that there is more in it.

        Raises:
            BaseException: this process cannot go on.
        """
        self._todo = todo
        self.production.laps.turn(INPUT)
        self.turns.soon(self._take_todo)
        self.turns.run()
        if self.turns.fatal is None and self._running:
            self._leaving = True
            for task in self._running:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait([*self._running], timeout=LAST_CHANCE))
        if self.turns.fatal is not None:
            raise self.turns.fatal

    def wake(self) -> None:
        """From any thread: work has come, or more may be given."""
        # Without a lock: the flag is lowered before the queue is read, so what comes later raises it anew. If
        # two threads raise it at once, the second call finds an empty queue.
        if not self._woken:
            self._woken = True
            self.turns.from_any_thread(self._take_todo)

    def _take_todo(self) -> None:
        self._woken = False
        while True:
            try:
                item = self._todo.get_nowait()
            except Empty:
                break
            if item is None:
                self.loop.stop()
                return
            if isinstance(item, Work):
                self.run(item)
            else:
                self.job_ended(item.job)
        self.go()

    # -- work ---------------------------------------------------------------------------------
    def run(self, work: Work) -> None:
        """Start its tasks, as far as there is room."""
        self.production.arrived()
        opened = _Open(work)
        batch, start, stop = work.pieces[-1]
        try:
            runs, contents, metas = open_piece(work.pieces[-1])
        except DecodeError as error:
            for index, path in enumerate(paths(cut_runs(batch.runs, start, stop))):
                if self._is_mine(_Item(opened, index, path, None, None)):
                    self._begin(work)
                    self.production.fail_unreadable(path, error)
                    self._finish(opened)
            return
        self._waiting.extend(
            _Item(opened, index, path, contents[index], None if metas is None else metas[index])
            for index, path in enumerate(paths(runs))
        )
        self.go()

    def go(self) -> None:
        """Start tasks that wait, and let coroutines give more, as far as there is room."""
        if self._free():
            for blocked in self._blocked:
                if not blocked.done():
                    blocked.set_result(None)
            self._blocked.clear()
        while self._waiting and self._seats and self._free():
            item = self._waiting.popleft()
            if not self._is_mine(item):
                continue
            if self._stale(item):
                self._begin(item.of.work)
                self._finish(item.of)
            elif not self._is_condemned(item):
                self._start(item)
        self._flush_soon()

    def _is_mine(self, item: _Item) -> bool:
        """Take this task, unless it was given back."""
        work = item.of.work
        if start_next(work.unstarted):
            return True
        item.of.left -= 1
        if not item.of.left:
            self.production.finish(work)
        return False

    def _stale(self, item: _Item) -> bool:
        return not self.production.is_current(item.of.work)

    def _is_condemned(self, item: _Item) -> bool:
        """Fail a task that is known to fail, without an instance: a worker may have died making one."""
        work = item.of.work
        known = (mark for mark in work.marks if mark.path == item.path and mark.kind and not mark.given)
        mark = next(known, None)
        if mark is None:
            return False
        self._fail(item, 0, Condemned(mark.text), kind=mark.kind)
        self._finish(item.of)
        return True

    def _start(self, item: _Item) -> None:
        work = item.of.work
        here = self._here.get(work.job)
        if here is None:
            here = self._here[work.job] = _Here(self.loop.create_task(self.host.instances.begin_job()))
        item.seat = self._seats.pop()
        self.host.context.running_note.enter(item.seat, work.job, work.epoch, item.path)
        if not self._running:
            self.production.laps.turn(CODE)
        item.begun = perf_counter()
        task = self.loop.create_task(self._process(item, here))
        self._running[task] = item
        here.running[task] = None
        task.add_done_callback(lambda task: self.turns.guard(self._ended, task, here))
        if self._timeout is not None:
            item.timer = self.loop.call_later(self._timeout, self._overdue, task, item)

    def _overdue(self, task: asyncio.Task[None], item: _Item) -> None:
        item.overdue = True
        task.cancel()

    def _ended(self, task: asyncio.Task[None], here: _Here) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Stale):
            self.turns.end(error)  # and it stays noted: it was running when this process died
            return
        item = self._running.pop(task)
        self.production.times.add(1, perf_counter() - item.begun)
        if not self._running:
            self.production.laps.turn(INPUT)
        self.host.context.look_after(item.of.work.job, item.of.work.epoch, lambda: [item.path])
        self.host.context.running_note.leave(item.seat)
        self._seats.append(item.seat)
        if item.timer is not None:
            item.timer.cancel()
        here.running.pop(task, None)
        self._let_go(here)
        self._begin(item.of.work)
        if task.cancelled() and not self._stale(item):
            if self._leaving:
                return
            self._fail(item, 0, asyncio.CancelledError())  # it was, before its first step
        self._finish(item.of)
        self.go()

    def _finish(self, opened: _Open) -> None:
        """One more task of this work is finished; the production is turned to it."""
        self.production.finish_one()
        opened.left -= 1
        if not opened.left:
            self.production.finish(opened.work)

    def _begin(self, work: Work) -> None:
        """Outputs and finished tasks are of this work from now on."""
        self.production.begin(work)

    def stacks(self) -> str:
        """Where the coroutines of running tasks stand. For this thread."""
        running = list(self._running.items())
        return stacks_of((item.of.work.job, item.path, task) for task, item in running)

    # -- a task -------------------------------------------------------------------------------
    async def _process(self, item: _Item, here: _Here) -> None:
        host, out, work, path = self.host, self.production.out, item.of.work, item.path
        one = host.one
        try:
            if not here.making.done():
                await asyncio.wait([here.making])
            state = here.making.result()
        except BaseException as error:  # init() and reset() are the user's code
            if self._is_end(error, item):
                raise
            if self._here.get(work.job) is here:
                del self._here[work.job]  # the next task tries again
            self._fail(item, 0, error)
            return
        state.mark(work.marks)
        mark = state.condemned.get(path)
        task = restore(item.content, one.opened(item.meta))
        if task._meta is not None and one.passes(task):
            self._begin(work)
            out.add(path, task)
            return
        task.content = one.opened(task.content)
        if type(task.content) is Unreadable:
            self._begin(work)
            with host.failures.input_of(work.pieces, item.index):
                one.unreadable(path, task, out)
            return
        had = len(task._logs or ()) if work.logs else -1
        if work.logs:
            task.start(host.context.name)
        path = one.execution(path)
        try:
            result = state.instance.process(task)
            if isinstance(result, Awaitable):
                result = await result
            if not isinstance(result, AsyncIterable):
                self._begin(work)
                with host.failures.input_of(work.pieces, item.index):
                    one.result(result, path, task, out, had, mark)
                return
            await self._stream(item, result, path, task, had, mark)
        except BaseException as error:  # whatever it is, it fails this task alone
            if self._is_end(error, item):
                raise
            log_failed(task, had)
            kind = mark.kind if mark is not None and type(error) is Condemned else "TaskError"
            self._fail(item, item.count, error, path, task, kind)
            return
        self._begin(work)
        out.end(path, item.count)

    def _is_end(self, error: BaseException, item: _Item) -> bool:
        """Whether an error ends a coroutine without being its task's failure."""
        kind = type(error)  # what isinstance() looks at may be the user's code
        if issubclass(kind, asyncio.CancelledError):
            return self._stale(item) or self._leaving
        if issubclass(kind, GeneratorExit):
            return not self.loop.is_running()  # the coroutine is closed, which nobody waits for any more
        return issubclass(kind, self.host.context.through)

    async def _stream(
        self, item: _Item, source: AsyncIterable[Any], path: Path, task: Task, had: int, mark: Mark | None
    ) -> None:
        """Put out each task that an asynchronous generator gives, as it comes."""
        host = self.host
        children = aiter(source)
        try:
            while True:
                if mark is not None and item.count == mark.given:
                    raise Condemned(mark.text)
                child = await next_of(children)
                if child is END:
                    return
                host.one.check_child(child, path)
                host.context.running_note.gave(item.seat, item.count + 1)
                work = item.of.work
                self._begin(work)
                with host.failures.input_of(work.pieces, item.index):
                    host.one.child(child, (*path, item.count), task, self.production.out, had)
                item.count += 1  # only now: to look at what the user's code has made may raise
                self._flush_soon()
                await self._room()
        except BaseException:
            if self.loop.is_running() and hasattr(children, "aclose"):
                await children.aclose()
            raise

    def _fail(
        self,
        item: _Item,
        count: int,
        error: BaseException,
        path: Path | None = None,
        task: Task | None = None,
        kind: str = "TaskError",
    ) -> None:
        ended = (asyncio.CancelledError, TimeoutError, asyncio.TimeoutError)
        if item.overdue and issubclass(type(error), ended):
            kind, error = "TaskTimeout", TimeoutError(f"it ran longer than {self._timeout:g} s, task_timeout")
        work = item.of.work
        self._begin(work)
        with self.host.failures.input_of(work.pieces, item.index):
            given = task or restore(item.content, unopened(item.meta))
            packed = self.host.failures.error(error, item.path, given, kind)
        self.production.out.fail(item.path if path is None else path, count, packed)

    async def _room(self) -> None:
        """Wait until more may be given; other coroutines get their turn in any case."""
        await asyncio.sleep(0)
        while not self._free():
            blocked = self.loop.create_future()
            self._blocked.append(blocked)
            await blocked

    # -- jobs, and what was given -------------------------------------------------------------
    def job_ended(self, job: bytes) -> None:
        """The job has ended here, or starts over: its coroutines get a CancelledError at their ``await``."""
        keep: deque[_Item] = deque()
        for item in self._waiting:
            if item.of.work.job != job or not self._stale(item):
                keep.append(item)
            elif self._is_mine(item):
                self._begin(item.of.work)
                self._finish(item.of)
        self._waiting = keep
        here = self._here.pop(job, None)
        if here is not None:
            here.ended = True
            for task in here.running:
                task.cancel()
            self._let_go(here)
        self.flush()

    def _let_go(self, here: _Here) -> None:
        """The instance of a job that has ended goes to another, once no task of the job runs."""
        if not here.ended or here.running:
            return
        if not here.making.done():
            here.making.add_done_callback(lambda _: self._let_go(here))
        elif not here.making.cancelled() and here.making.exception() is None:
            self.host.instances.spare(here.making.result().instance)

    def steal(self, give: Callable[[list[Produced]], None]) -> bool:
        """Nothing to take: no output waits here for a task that runs for long."""
        return False

    def _flush_soon(self) -> None:
        """Give the outputs at the end of this turn of the loop, with those that it still adds."""
        if not self._flushing:
            self._flushing = True
            self.turns.soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        if self._running or self._waiting:
            self.flush()
        else:
            self.production.idle()
