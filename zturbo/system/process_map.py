"""``process_map``: a function on many arguments, in processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import closing
from typing import Any, TypeVar

from zturbo.api.options import Options
from zturbo.api.stage import Stage
from zturbo.checks import check_count, check_type, wrong
from zturbo.hardware.cpus import usable_cpus
from zturbo.hardware.resources import Resources
from zturbo.runtime.code.shipping import CallStage, pack_call, unpack_result
from zturbo.system.system import System
from zturbo.terminal.bar import progressbar

__all__ = ["process_map"]

T = TypeVar("T")
R = TypeVar("R")


class _Calls(System):
    """A system with one stage, which calls the function."""

    show_progress = False

    def __init__(self, call: bytes, num_worker: int) -> None:
        super().__init__(resource_scan_args={})
        self._stage = CallStage(call, num_worker)

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [self._stage]


def process_map(
    worker: Callable[[T], R], jobs: Iterable[T], num_worker: int | None = None, **kwargs: Any
) -> Iterator[R]:
    """Call ``worker(job)`` for each job, in processes; results come as they are ready, in any order.

    ``jobs`` is read only as far ahead as the workers take it. A call that raises ends the iteration with an
    exception of the same type and text, whose cause is the worker's traceback. An exception that cannot be
    sent becomes a ``TaskError`` that tells it. A worker that dies is replaced; a job that keeps killing
    workers raises ``WorkerLost``. The processes end when the iterator is closed, or at Ctrl-C. With the
    option ``single_sync_pipeline`` this process makes the calls itself.

    Args:
        worker: a function of one argument; it, its arguments and its results are pickled.
        jobs: the arguments.
        num_worker: number of processes; default the number of CPUs that this process may use.
        kwargs: for :func:`zturbo.progressbar`: ``desc``, ``total``, ``silent``.

    Raises:
        UsageError: the worker or an argument cannot be pickled, or is of a wrong type.
    """
    if not callable(worker):
        raise wrong("process_map: worker", worker, "a function of one argument")
    check_type("process_map: jobs", jobs, Iterable, "an iterable of arguments")
    if num_worker is None:
        num_worker = len(usable_cpus().ids)
    num_worker = check_count("process_map: num_worker", num_worker, 1)
    if isinstance(jobs, Sized):
        kwargs.setdefault("total", len(jobs))
    if Options.single_sync_pipeline:
        return iter(progressbar(map(worker, jobs), **kwargs))
    return _shown(_results(pack_call(worker), jobs, num_worker), kwargs)


def _shown(results: Generator[Any, None, None], kwargs: dict[str, Any]) -> Iterator[Any]:
    with closing(results):
        yield from progressbar(results, **kwargs)


def _results(call: bytes, jobs: Iterable[Any], num_worker: int) -> Generator[Any, None, None]:
    system = _Calls(call, num_worker)
    with system:
        for raw in system._stream(pack_call(job) for job in jobs):
            yield unpack_result(raw)
