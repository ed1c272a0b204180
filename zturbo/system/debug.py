"""Debug mode: a pipeline's stages in this process, one task at a time, no sockets.

The stages run through the same host and codec as in workers, so a stage that works here works there. A
breakpoint in ``process`` works as in any function. Results come in the same order as from workers.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from zturbo.api.result import Result
from zturbo.api.stage import Stage
from zturbo.api.task import Task, read_meta
from zturbo.checks import wrong
from zturbo.client.reader import failed_task
from zturbo.core.links.outbatch import paths
from zturbo.core.order.by_meta import ByMeta
from zturbo.errors import DecodeError, EncodeError, UsageError
from zturbo.runtime.code.call import Call
from zturbo.runtime.code.output import Output
from zturbo.runtime.code.stagehost import StageHost
from zturbo.system.quitting import quits
from zturbo.wire.messages import ORDERS, Batch, Path, is_order, meta_key
from zturbo.wire.metaids import pick
from zturbo.wire.payload import NeedsBuffers, pack_meta, pack_metas, pack_one, unpack_one

__all__ = ["DebugPipeline", "run_debug"]

_Item = tuple[Path, str, Any, Any]
"""(path, "task" or "fail", content or error, meta)."""

_AFTER_ALL = 1 << 63
"""A path component that comes after all others: a failure stands after the children of its path."""


class _Watch:
    """Raises the end of the session, and with ``raising`` the first failure, in place of going on."""

    def __init__(self) -> None:
        self.raising = False
        self._raised: BaseException | None = None

    def __call__(self, error: BaseException, failure: bytes) -> None:
        """Look at an error. With ``raising`` it is raised, with the user's traceback, for a debugger."""
        if error is self._raised or quits(error):
            raise error
        if self.raising:
            raised = self._raised = failed_task(failure).error
            assert raised is not None
            raise raised.with_traceback(error.__traceback__) from error


class DebugPipeline:
    """Stages in this process.

    Args:
        stages: instances, or callables that make instances.
        names: of the stages; default their classes' names.

    Raises:
        UsageError: an instance cannot be copied, as it would be for a worker.
    """

    def __init__(
        self, stages: Sequence[Stage | Callable[[], Stage]], names: Sequence[str] | None = None
    ) -> None:
        self.hosts: list[StageHost] = []
        self._watch = _Watch()
        for index, stage in enumerate(stages):
            build = _copies(stage) if isinstance(stage, Stage) else stage
            name = names[index] if names else getattr(stage, "__name__", type(stage).__name__)
            host = StageHost(build, name=name, index=index, host="this process")
            host.failures.watch = self._watch
            host.context.through += (KeyboardInterrupt,)  # here a person presses Ctrl-C; a worker gets none
            self.hosts.append(host)

    def run(
        self,
        task: Task | Iterable[Task],
        *,
        logs: bool = False,
        raising: bool = False,
        order: str = "path",
    ) -> Iterator[Task]:
        """Output tasks of a job, in order, failed ones in their places.

        Args:
            task: the root, or several roots; they are not changed.
            logs: keep a log of stages in each task.
            raising: raise the first failure where it happens, and stop there.
            order: of the results, as in a network file; with "none" they come by path here.

        Raises:
            UsageError: ``order`` is no order.
            EncodeError: the root's content or meta cannot be carried.
        """
        if not is_order(order):
            raise wrong("order", order, ORDERS)
        job = os.urandom(16)
        items = _roots(task)
        self._watch.raising = raising
        for host in self.hosts:
            items = self._through(host, job, items, logs)
        if (key := meta_key(order)) is not None:
            items = self._sorted(key, items, raising)
        try:
            for _, kind, value, meta in items:
                yield failed_task(value) if kind == "fail" else _task(value, meta)
        finally:
            for host in self.hosts:
                host.instances.job_ended(job)

    def _through(self, host: StageHost, job: bytes, items: Iterable[_Item], logs: bool) -> Iterator[_Item]:
        """Run one stage, depth first: a task's outputs go on before the next task begins."""
        given: list[_Item] = []
        out = Output(lambda: _take(host, out, given), lambda: None)
        for path, kind, value, meta in items:
            call = Call(job, 0, out, repeat(None, 1), logs=logs)
            metas = [meta] if meta is not None else None
            if kind == "fail":
                if host.ordered:
                    host.in_order.run(call, [], [(0, value, 0)], final=False)
                else:
                    given.append((path, kind, value, meta))
            else:
                host.inputs.begin([_piece(job, path, value, meta)])
                if host.ordered:
                    host.in_order.run(call, [([(path, 1)], [value], metas)], [], final=False)
                else:
                    host.plain.run(call, [(path, 1)], [value], metas)
            _take(host, out, given)
            host.inputs.clear()
            yield from given
            given.clear()
        if host.ordered:
            host.in_order.run(Call(job, 0, out, logs=logs), [], [], final=True)
            _take(host, out, given)
            yield from given

    def _sorted(self, key: str, items: Iterable[_Item], raising: bool) -> Iterator[_Item]:
        """Results in the order of the numbers under a key in their meta, as a sink gives them."""
        by_meta = ByMeta(key, "this process")
        for item in items:
            path, kind, value, meta = item
            if kind == "fail":
                by_meta.failures.append(value)
                continue
            (found,) = pick(None if meta is None else pack_metas([meta]), 1, key)
            yield from by_meta.task(found, item, path, len(self.hosts))
            if raising and by_meta.failures:
                error = failed_task(by_meta.failures[0]).error
                assert error is not None
                raise error
        failures, ready = by_meta.flush()
        yield from (((), "fail", error, None) for error in failures)
        yield from ready


def _copies(stage: Stage) -> Callable[[], Stage]:
    """A callable that makes instances of a stage. They share nothing with each other, as in workers."""
    try:
        first = copy.deepcopy(stage)
    except Exception as error:  # copying runs the object's own code
        raise UsageError(
            f"stage {type(stage).__name__} cannot be copied: {error}. Make models, files, locks and the like "
            "in init(): workers get a copy too"
        ) from error
    return lambda: copy.deepcopy(first)


def _piece(job: bytes, path: Path, content: Any, meta: Any) -> tuple[Batch, int, int]:
    """A task as a batch of its own, out of which its input is cut if it fails."""
    blob, buffers = pack_one(content)
    metas = None if meta is None else pack_metas([meta])
    return Batch(job, 0, 0, [(path, 1)], 1, blob, metas, buffers), 0, 1


def _carry(content: Any, meta: Any) -> tuple[Any, Any]:
    """Content and meta, packed and unpacked again, as the next process would get them."""
    blob, buffers = pack_one(content)
    if meta is not None:
        packed, frames = pack_one(meta)
        meta = unpack_one(packed, frames)
    return unpack_one(blob, buffers), meta


def _roots(task: Task | Iterable[Task]) -> Iterator[_Item]:
    """A job's roots. A single root has the path (), the k-th of several has (k,)."""
    roots = [((), task)] if isinstance(task, Task) else (((k,), root) for k, root in enumerate(task))
    for path, root in roots:
        yield (path, "task", *_carry(root.content, pack_meta(root._meta, root._logs)))


def _task(content: Any, meta: Any) -> Task:
    task = Task(content)
    if meta is not None:
        task.meta, task.logs = read_meta(meta)
    return task


def _take(host: StageHost, out: Output, given: list[_Item]) -> None:
    """Take all of an output, in the order of paths. Contents go through the codec, as between processes."""
    contents = iter(out.contents)
    metas = iter(out.metas or ())
    taken: list[tuple[Path, _Item]] = []
    for path in paths(out.runs()):
        try:
            taken.append((path, (path, "task", *_carry(next(contents), next(metas, None)))))
        except (EncodeError, NeedsBuffers, DecodeError) as error:
            packed = host.failures.error(error, path, None, type(error).__name__)
            taken.append((path, (path, "fail", packed, None)))
    taken.extend(((*f.path, _AFTER_ALL), (f.path, "fail", f.error, None)) for f in out.fails)
    out.clear()
    given.extend(item for _, item in sorted(taken, key=lambda pair: pair[0]))


def run_debug(
    stages: Sequence[Stage | Callable[[], Stage]],
    task: Task,
    *,
    names: Sequence[str] | None = None,
    result: Result | None = None,
    order: str = "path",
) -> Result:
    """Run one root task through stages in this process; returns its result."""
    collected = Result() if result is None else result
    for output in DebugPipeline(stages, names).run(task, order=order):
        collected.collect(output)
    return collected
