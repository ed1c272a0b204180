"""What is said of a task that failed: its error, where it was, and its input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from zturbo.api.task import Task
from zturbo.errortext import plain_text, render, type_name
from zturbo.runtime.code.context import StageContext
from zturbo.runtime.code.failedmeta import carried_meta
from zturbo.runtime.code.inputs import Inputs, Pieces
from zturbo.runtime.code.output import Output
from zturbo.wire.messages import Mark, Path
from zturbo.wire.payload import pack_error

__all__ = ["Condemned", "Failures", "TaskFailedByUser"]


class Condemned(Exception):
    """The task killed its workers, or kept them too long; or its failure is known from an earlier epoch."""


class TaskFailedByUser(Exception):
    """``process`` gave a task with ``success`` False."""


class Failures:
    """Makes the failures of a stage's tasks.

    Args:
        context: the stage.
        inputs: of the tasks that run.
    """

    def __init__(self, context: StageContext, inputs: Inputs) -> None:
        self._context = context
        self.inputs = inputs
        self.input_at: tuple[Pieces, int] | None = None
        """Where the input of the task that runs lies, if :attr:`inputs` cannot know."""
        self.watch: Callable[[BaseException, bytes], None] | None = None
        """Gets each error with its failure, and may raise: debug mode ends or shows the first one so."""

    @contextmanager
    def input_of(self, pieces: Pieces, index: int) -> Iterator[None]:
        """A task that fails meanwhile is the one with this index among the tasks of this input."""
        self.input_at = pieces, index
        try:
            yield
        finally:
            self.input_at = None

    def error(self, error: BaseException, path: Path, task: Task | None, kind: str = "TaskError") -> bytes:
        """A packed failure; without a task, the failure of an output that has left the stage's code.

        Never raises, whatever the error and the task are by now, unless :attr:`watch` does.
        """
        input_at = self.input_at if task is not None else None
        context, told = self._context, render(error)
        packed = pack_error(
            {
                "kind": kind,
                "type": told.type,
                "message": told.message,
                "traceback": told.traceback,
                "stage": plain_text(context.name),
                "index": context.index,
                "path": list(path),
                "host": context.host,
                "pid": os.getpid(),
                "meta": carried_meta(task),
                **self._input(path, input_at),
            }
        )
        if self.watch is not None:
            self.watch(error, packed)
        return packed

    def _input(self, path: Path, input_at: tuple[Pieces, int] | None) -> dict[str, Any]:
        try:
            return self.inputs.fields(path, input_at)
        except BaseException as error:  # no memory; or a type that the user registered
            return {"input": f"its input was not kept: {type_name(error)} while it was read"}

    def condemn(self, mark: Mark | None, path: Path, task: Task, out: Output) -> None:
        """Fail a task that is known to fail, without running it."""
        assert mark is not None
        out.fail(path, 0, self.error(Condemned(mark.text), path, task, mark.kind))
