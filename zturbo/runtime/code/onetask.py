"""One task through a stage's code: its outputs, or its failure.

What ``process`` gives becomes paths, contents, ENDs and FAILs. There are no sockets and no threads in here.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from time import perf_counter
from types import CoroutineType
from typing import Any

from zturbo.api.stage import Stage
from zturbo.api.task import Task, TaskLog
from zturbo.core.order.tree import EXECUTION
from zturbo.errors import DecodeError, UsageError
from zturbo.errortext import error_text
from zturbo.runtime.code.call import Call
from zturbo.runtime.code.context import StageContext
from zturbo.runtime.code.failures import Condemned, Failures, TaskFailedByUser
from zturbo.runtime.code.output import Output
from zturbo.runtime.process.running import GIVEN
from zturbo.wire.messages import MAX_DEPTH, Mark, Path
from zturbo.wire.payload import Packed, Unreadable, content_of, entry_of, take
from zturbo.wire.plain import UNCHANGING

__all__ = ["OneTask", "log_failed"]

_END: Any = object()
_BY_USER = "process gave a task that is marked as failed"


class OneTask:
    """Runs single tasks of a stage.

    Args:
        context: the stage.
        failures: makes the failures of its tasks.
        stage: an instance of the stage.
    """

    def __init__(self, context: StageContext, failures: Failures, stage: Stage) -> None:
        self._context = context
        self._failures = failures
        self._cls = type(stage).__name__
        self.deterministic = stage.deterministic
        """Whether two executions of a task give the same."""

    def opened(self, packed: Any) -> Any:
        """A content or a meta, unpacked if it has waited; unreadable if the code that unpacks it raises."""
        try:
            return content_of(packed)
        except self._context.through:
            raise
        except BaseException as error:
            return Unreadable(DecodeError(f"the code that unpacks it raised {error_text(error)}"))

    def passes(self, task: Task) -> bool:
        """Whether a root enters its pipeline further down: then it passes this stage, untouched.

        The mark is taken off where the root enters, so that no task made of it has one.
        """
        index = entry_of(task._meta)
        if index is None:
            return False
        if self._context.index < index:
            return True
        task._meta = _unmarked(task._meta)
        return False

    def noted(self, meta: Packed, mark: Mark | None, number: int) -> Any:
        """A meta that the user's code unpacks: from then on the task with this number counts as running.

        A task that is known to fail, and so is not to run, has no meta.
        """
        if mark is not None and not mark.given:
            return None
        self._context.running_note.task(number)
        return self.opened(meta)

    def run_marked(
        self, process: Callable[[Task], Any], path: Path, task: Task, call: Call, mark: Mark | None
    ) -> None:
        """Run a task; one that is known to fail runs only until it fails, or not at all."""
        if mark is None or mark.given:
            self._context.running_note.task(path[-1] if path else 0)
            self._run(process, path, task, call, mark)
        else:
            self._failures.condemn(mark, path, task, call.out)

    def unreadable(self, path: Path, task: Task, out: Output) -> None:
        """Fail a task whose content or meta cannot be unpacked here; it fails alone."""
        error = self._failures.error(task.content.error, path, task, "DecodeError")
        out.fail(self.execution(path), 0, error)

    def _run(
        self, process: Callable[[Task], Any], path: Path, task: Task, call: Call, mark: Mark | None
    ) -> None:
        if type(task.content) is Packed:
            task.content = self.opened(task.content)
        if type(task.content) is Unreadable:
            return self.unreadable(path, task, call.out)
        had = -1
        if call.logs:
            had = len(task._logs or ())
            task.start(self._context.name)
        result: Any = None
        error: BaseException | None = None
        try:
            result = call.out.call(process, task)
        except self._context.through:
            raise
        except BaseException as raised:  # whatever the user's code raises fails this task alone
            error = raised
        self.settle(result, error, path, task, call.out, had, mark)

    def settle(
        self,
        result: Any,
        error: BaseException | None,
        path: Path,
        task: Task,
        out: Output,
        had: int,
        mark: Mark | None,
    ) -> None:
        """Put out the outputs or the failure of a task that has run. See :meth:`result`."""
        if error is None:
            self.result(result, self.execution(path), task, out, had, mark)
            return
        log_failed(task, had)
        out.fail(self.execution(path), 0, self._failures.error(error, path, task))

    def execution(self, path: Path) -> Path:
        """The path under which the outputs of this execution go.

        At a stage that is not deterministic, it has a component of its own: of two executions, the first that
        is complete wins as a whole. A path that can have no more components has none for executions.
        """
        if self.deterministic or len(path) >= MAX_DEPTH:
            return path
        return (*path, EXECUTION + int.from_bytes(os.urandom(6), "big"))

    def result(
        self, result: Any, path: Path, task: Task, out: Output, had: int, mark: Mark | None = None
    ) -> None:
        """Put out what ``process`` gave for a task.

        Args:
            result: what it gave.
            path: of this execution.
            task: the task as it came.
            out: where outputs go.
            had: entries in the task's logs before it; -1 for no logs.
            mark: how the task is known to fail.
        """
        count = 0
        try:
            if isinstance(result, Task):
                if mark is not None:
                    raise Condemned(mark.text)
                if had >= 0:
                    _log(task, result, had, success=result.success)
                self._put(result, path, out)
                return
            if result is None:
                out.end(path, 0)
                return
            if isinstance(result, (str, bytes, dict)) or not isinstance(result, Iterable):
                raise TypeError(self._wrong("returned", result))
            children, numbers = iter(result), self._context.running_note.numbers
            room = had < 0 and len(path) < MAX_DEPTH
            starts: list[Any] | None = None
            while True:
                if mark is not None and count == mark.given:
                    raise Condemned(mark.text)
                try:  # as in Output.call, which costs too much for each child
                    out.inside = True
                    child = next(children, _END)
                finally:
                    out.inside = False
                    if out.taking:
                        out.wait()
                if child is _END:
                    break
                # A child counts once it is put out: looking at what the user's code has made may raise.
                if (
                    room
                    and type(child) is Task
                    and child.success
                    and child._meta is None
                    and child._logs is None
                    and out.metas is None
                ):
                    content = child.content
                    if type(content) not in UNCHANGING:
                        content = take(content, child._owned)
                    numbers[GIVEN] = count + 1
                    if out.starts is not starts:
                        out.begin_run((*path, count), len(out.contents))
                        starts = out.starts
                    out.contents.append(content)
                    count += 1
                    out.due_in -= 1
                    if not out.due_in:
                        out.look()
                    continue
                self.check_child(child, path)
                numbers[GIVEN] = count + 1
                self.child(child, (*path, count), task, out, had)
                count += 1
                starts = None
        except self._context.through:
            raise
        except BaseException as error:  # whatever the user's code raises fails this task alone
            log_failed(task, had)
            kind = mark.kind if mark is not None and type(error) is Condemned else "TaskError"
            out.fail(path, count, self._failures.error(error, path, task, kind))
            return
        out.end(path, count)

    def check_child(self, child: object, path: Path) -> None:
        """Raise if this is no task, or one more child on this path is too deep."""
        if not isinstance(child, Task):
            raise TypeError(self._wrong("yielded", child))
        if len(path) >= MAX_DEPTH:
            raise UsageError(
                f"stage {self._context.name} yields tasks of a task that {len(path)} stages before it have "
                f"yielded, and {MAX_DEPTH} is the limit: return one Task here, or use fewer stages"
            )

    def child(self, child: Task, path: Path, task: Task, out: Output, had: int) -> None:
        """Put out one of the tasks that an iterable gave; ``path`` is its own."""
        if had >= 0:
            _log(task, child, had, success=child.success)
        self._put(child, path, out)

    def _put(self, given: Task, path: Path, out: Output) -> None:
        if not given.success:
            out.fail(path, 0, self._failures.error(TaskFailedByUser(_BY_USER), path, given))
            return
        if given._meta:
            given._meta = _unmarked(given._meta)
        out.add(path, given)

    def _wrong(self, verb: str, what: object) -> str:
        if isinstance(what, (Awaitable, AsyncIterable)):
            if isinstance(what, CoroutineType):
                what.close()
            return f"{self._cls}.process {verb} {what!r:.80}, but is not an 'async def': write it as one"
        right = "return a Task, an iterable of Tasks, or None" if verb == "returned" else "yield Tasks alone"
        return f"{self._cls}.process {verb} {what!r:.80} of type {type(what).__name__}; it is to {right}"


def _unmarked(meta: Any) -> Any:
    """A task's meta without the mark that only a root may have."""
    if entry_of(meta) is None:
        return meta
    note = {key: value for key, value in meta["zturbo"].items() if key != "enter"}
    rest = {key: value for key, value in meta.items() if key != "zturbo"}
    return {**rest, "zturbo": note} if note else rest or None


def _log(parent: Task, child: Task, had: int, *, success: bool) -> None:
    """Add a log entry, unless the user's code has made it by ``start()`` and ``finish()``."""
    started = parent._started
    if started is None or len(child._logs or ()) > had:
        return
    name, wall, tick = started
    duration = perf_counter() - tick
    child.logs = [*(parent._logs or ())[:had], TaskLog(name, duration, wall, wall + duration, success)]


def log_failed(task: Task, had: int) -> None:
    """Add the log entry of a task that has failed; what the user's code did to its logs may allow none."""
    try:
        if had >= 0:
            _log(task, task, had, success=False)
    except Exception:
        task._logs = None
