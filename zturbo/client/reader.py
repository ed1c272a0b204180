"""Reads results of one job, and makes tasks of their bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from itertools import repeat
from threading import TIMEOUT_MAX
from typing import Any

from zturbo.api.task import NO_TIMES, Task, TaskLog, read_meta
from zturbo.client.acceptance import Acceptance
from zturbo.client.incoming import Incoming
from zturbo.client.io import ClientIO
from zturbo.errors import DecodeError, ResultTimeout, TaskError, UsageError, ZturboError, by_name
from zturbo.errortext import path_text, safe_repr
from zturbo.htmltext import facts
from zturbo.wire.messages import Results
from zturbo.wire.payload import (
    Packed,
    Unreadable,
    content_of,
    enter_at,
    enter_packed_at,
    failure_fields,
    later_one,
    pack_metas,
    pack_one,
    read_many,
    read_one,
)

__all__ = ["FailedTask", "Failure", "Reader", "contents_of", "failed_task", "tasks_of"]


NUMBERS = 1 << 60
"""Components of a path from here on name executions, and mean nothing to people."""


class Reader:
    """Reads results of one job in the caller's thread.

    Args:
        io: the client's I/O thread.
        job: id of the job.
        first: index of the first result that the caller wants; -1 to go on at the sink's cursor.
        accepted: the broker's answer to the job.
        tell: tell the sink at the end how many results the caller has taken: the next reader goes on there.
        once: let the sink free results that the caller has taken: nobody reads them again.
    """

    def __init__(
        self,
        io: ClientIO,
        job: bytes,
        first: int,
        accepted: Acceptance,
        *,
        tell: bool = False,
        once: bool = False,
    ) -> None:
        self._nothing = threading.Lock()
        """Held while nothing has come that was not looked at."""
        self._nothing.acquire()
        self._incoming = Incoming(io, job, first, accepted, self._wake, tell=tell, once=once)

    def _wake(self) -> None:
        try:
            self._nothing.release()
        except RuntimeError:  # it is not held: more than one thing has come
            pass

    def fail(self, error: BaseException) -> None:
        """No more results will come: the caller gets this error after the results that have come."""
        self._incoming.fail(error)

    def batches(self, deadline: float | None) -> Iterator[tuple[Results, int]]:
        """Results as they come, each message with the number of its first results to skip.

        Raises the error that ended the job, if there is one, after the results.
        """
        incoming = self._incoming
        try:
            while True:
                incoming.check_process()
                incoming.ask_on()
                while not incoming.arrived and (deadline is None or time.monotonic() < deadline):
                    left = -1 if deadline is None else min(max(0.0, deadline - time.monotonic()), TIMEOUT_MAX)
                    self._nothing.acquire(timeout=left)
                if not incoming.arrived:
                    raise self._late()
                part = incoming.take()
                if part is None:
                    return
                yield part
        finally:
            incoming.close()

    def _late(self) -> ResultTimeout:
        """The error where the time is over, with what the broker says of the job."""
        try:
            told = self._incoming.ask().result()
        except ZturboError:
            told = None
        return self._incoming.late(told)

    def tasks(self, deadline: float | None) -> Iterator[Task]:
        """Tasks in order, failed ones in their places."""
        stream = self._incoming.stream
        for results, skip in self.batches(deadline):
            for index, task in enumerate(tasks_of(results)[skip:], results.first + skip):
                stream.taken = index
                yield task

    def contents(self, deadline: float | None) -> Iterator[Any]:
        """Contents in order; a failed task comes as a :class:`Failure`."""
        stream = self._incoming.stream
        for results, skip in self.batches(deadline):
            contents = contents_of(results)
            taken = results.first + skip
            for content in contents[skip:] if skip else contents:
                stream.taken = taken
                taken += 1
                yield content


class Failure:
    """A failed task among contents."""

    __slots__ = ("task",)

    def __init__(self, task: FailedTask) -> None:
        self.task = task

    def take(self, on_error: str) -> list[BaseException | None]:
        """What ``map`` yields in its place: its error for "return", nothing for "skip".

        Raises:
            TaskError: for "raise"; or the class of error that the task has.
        """
        if on_error == "raise":
            raise self.task.error or TaskError("a task failed")
        return [self.task.error] if on_error == "return" else []


def _contents(results: Results, n: int) -> list[Any]:
    """The contents in a message; a failed task stands for each that cannot be unpacked here."""
    if not n:
        return []
    contents = [read_one(results.blob, results.buffers)] if results.buffers else read_many(results.blob, n)
    if Unreadable in set(map(type, contents)):
        contents = [Failure(_unreadable(one.error)) if type(one) is Unreadable else one for one in contents]
    return contents


def contents_of(results: Results) -> list[Any]:
    """The contents in a message; a failed task comes as a :class:`Failure`."""
    contents = _contents(results, results.n - len(results.fails))
    for index, error in results.fails:
        contents.insert(index - results.first, Failure(failed_task(error)))
    return contents


def tasks_of(results: Results) -> list[Task]:
    """The tasks in a message, failed ones in their places."""
    n = results.n - len(results.fails)
    metas: Iterable[Any] = read_many(results.metas, n) if n and results.metas is not None else repeat(None)
    tasks = []
    for one, packed in zip(_contents(results, n), metas, strict=False):
        if type(one) is Failure:
            task: Task = one.task
        else:
            task = Task(one)
            if packed is not None:
                try:
                    task.meta, task.logs = _meta_of(packed)
                except DecodeError as why:
                    task = _unreadable(why)
        if not task._logs:
            task._logs = NO_TIMES
        tasks.append(task)
    for index, error in results.fails:
        tasks.insert(index - results.first, failed_task(error))
    return tasks


class FailedTask(Task):
    """A task that failed, as the reader of the results gets it.

    Values that the user's own code unpacks are unpacked at the first access: a worker may have died of that.

    Attributes:
        content: the input of the stage that failed; None if it was not kept.
        meta: the task's meta when it failed; ``meta["zturbo"]`` says where and why it failed.
        stage: name of the stage that failed.
        host: of the worker.
        traceback: of the user's code there.
        error: all of that as an exception; ``raise`` it, or print it.
        index: of the stage in its pipeline.
        path: its place in the job: the number of its root, then of each output on its way.
        input_meta: meta and logs with which the task came to the stage.
        note: why there is no ``content``; empty if there is.
    """

    __slots__ = ("_content", "_failed", "_input_meta", "host", "index", "note", "path", "stage", "traceback")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.note: str = fields["note"]
        super().__init__()
        self.success = False
        self.stage: str = fields["stage"]
        self.host: str = fields["host"]
        self.traceback: str = fields["traceback"]
        self.index: int = fields["index"]
        self.path: tuple[int, ...] = tuple(one for one in fields["path"] if one < NUMBERS)
        self._input_meta: Any = fields["input_meta"]
        self._failed: tuple[Any, dict[str, Any]] | None = None
        if not self.note:
            self._content = later_one(*fields["input"])
            self._tell_unreadable()

    def _tell_unreadable(self) -> None:
        if type(self._content) is Unreadable:
            self.note = f"its input cannot be unpacked here: {self._content.error}"
            self._content = None

    @property
    def content(self) -> Any:
        """The input of the stage that failed."""
        self._content = content_of(self._content)
        self._tell_unreadable()
        return self._content

    @content.setter
    def content(self, value: Any) -> None:
        self._content = value

    @property
    def place(self) -> str:
        """Its path as people write it: ``17.2``; ``root`` for a job's single root."""
        return path_text(self.path)

    def came_with(self) -> tuple[dict[Any, Any], list[TaskLog]]:
        """Meta and logs with which the task came to the stage; both empty if they cannot be read."""
        try:
            return _meta_of(self.input_meta)
        except DecodeError:
            return {}, []

    def rebuilt(self) -> Task:
        """The task as it came to the stage that failed.

        Raises:
            UsageError: its input was not kept, or cannot be unpacked here.
        """
        task = Task(self.content)
        if self.note:
            raise UsageError(f"the task cannot be run again: {self.note}")
        task.meta, task.logs = self.came_with()
        return task

    def replay(self, stage: Any = None) -> list[Task]:
        """Run it again, in this process, with the input that its stage got.

        Nothing is sent, and the job stays as it is. The stage is made anew, with ``init()`` and ``reset()``:
        an ordered stage starts without the tasks that came before.

        Args:
            stage: where the code is: a stage, its class, a function, ``module:Class``, or a network file;
                None for the only network file of the working directory that has the stage.

        Returns:
            The outputs, if it does not fail this time.

        Raises:
            UsageError: its input was not kept, or the stage's code is not found.
            StartError: the stage's module cannot be imported.
            BaseException: what the stage's code raises, as it raises it: a debugger stops there.
        """
        from zturbo.client.replay import stage_of  # which imports much, and is rare

        task = self.rebuilt()
        with stage_of(self.stage, self.index, stage) as again:
            return again.run(task)

    def root(self) -> tuple[list[Any], bytes]:
        """A root that runs it again at the stage where it failed: frames of its content, and its packed meta.

        Values that the user's own code would unpack go as they came: a worker may have died of that.
        """
        content, meta = self._content, self._input_meta
        if type(content) is Packed:
            frames = [content.blob, *content.buffers]
        else:
            blob, buffers = pack_one(content)
            frames = [blob, *buffers]
        if type(meta) is Packed:
            return frames, enter_packed_at(bytes(meta.blob), self.index)
        return frames, pack_metas([enter_at(self.input_meta, self.index)])

    @property
    def input_meta(self) -> Any:
        """Meta and logs with which the task came to the stage."""
        value = self._input_meta = content_of(self._input_meta)
        return None if type(value) is Unreadable else value

    def went_along(self, packed: Any, note: dict[str, Any]) -> None:
        """Set the meta and logs that the task had, packed, and the note on its failure."""
        self._failed = packed, note
        if type(packed) is not Packed:
            self._unpack()

    def _unpack(self) -> None:
        if self._failed is None:
            return
        (packed, note), self._failed = self._failed, None
        try:
            self._meta, self._logs = _meta_of(content_of(packed))
        except DecodeError:
            self._meta = {}
        self._logs = self._logs or NO_TIMES
        self._meta.setdefault("zturbo", note)

    @property
    def meta(self) -> dict[Any, Any]:
        """The task's meta when it failed, with the note on its failure."""
        self._unpack()
        return super().meta

    @meta.setter
    def meta(self, value: dict[Any, Any] | None) -> None:
        self._failed = None
        Task.meta.fset(self, value)  # type: ignore[attr-defined]

    @property
    def logs(self) -> list[TaskLog]:
        """The log of each stage that the task has passed."""
        self._unpack()
        return super().logs

    @logs.setter
    def logs(self, value: list[TaskLog] | None) -> None:
        Task.logs.fset(self, value)  # type: ignore[attr-defined]

    @property
    def shown(self) -> str:
        """Its input for people; a value that the user's own code would unpack is not shown."""
        if type(self._content) is Packed:
            return "(not unpacked)"
        return self.note or safe_repr(self.content)

    def _repr_html_(self) -> str:
        """For notebooks."""
        named = [("error", self.error), ("stage", self.stage), ("host", self.host), ("path", self.place)]
        return facts([*named, ("input", self.shown), ("traceback", self.traceback[-2000:])], "failed task")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.error}, content: {self.shown})"


def _unreadable(why: DecodeError) -> FailedTask:
    """A failed task in place of a result that cannot be unpacked in this process."""
    text = f"a result cannot be unpacked here: {why}"
    fields = failure_fields(b"")
    note = {"kind": "DecodeError", "type": "DecodeError", "message": text, "stage": "", "host": ""}
    task = FailedTask({**fields, "note": text})
    task.error = TaskError(text)
    task.error.task = task
    task.meta = {"zturbo": {**note, "path": (), "input": text}}
    return task


def failed_task(packed: bytes) -> FailedTask:
    """Make a failed task of a packed failure."""
    fields = failure_fields(packed)
    kind = by_name(fields["kind"], TaskError)
    where = f"stage {fields['stage']} on {fields['host']}"
    text = f"{fields['type']}: {fields['message']} (in {where}, task {path_text(fields['path'])})"
    task = FailedTask(fields)
    task.error = error = TaskError(text, task.traceback) if kind is TaskError else kind(text)
    error.task = task
    note = {k: fields[k] for k in ("kind", "type", "message", "stage", "host", "path")}
    task.went_along(fields["meta"], {**note, "input": task.note} if task.note else note)
    return task


def _meta_of(value: Any) -> tuple[dict[Any, Any], list[TaskLog]]:
    meta, logs = read_meta(value)
    return (meta if isinstance(meta, dict) else {}), logs
