"""From work to what it gives: unpacks contents, calls the stage's code, packs outputs.

It runs in the worker's main thread; :mod:`zturbo.runtime.members.worker` moves work and results between it
and the I/O thread. Outputs of several pieces of work of one job share a batch, as long as work is at hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from zturbo.core.effects import Work
from zturbo.core.links.outbatch import cut_runs, paths
from zturbo.core.worker.held_roots import InputKey
from zturbo.core.worker.produced import Produced
from zturbo.errors import DecodeError, EncodeError, TooLarge
from zturbo.runtime.code.cutting import start_next
from zturbo.runtime.code.output import Output
from zturbo.runtime.code.stagecode import Broken
from zturbo.runtime.code.stagehost import StageHost, Stale
from zturbo.runtime.process.descriptors import LOST_DESCRIPTORS, Descriptors, Watched
from zturbo.wire.messages import Batch, Fail, Path, PathRun
from zturbo.wire.payload import (
    NeedsBuffers,
    Packed,
    Unreadable,
    pack_many,
    pack_one,
    read_later,
    slice_blob,
)

__all__ = ["Runner", "open_piece"]


class Runner:
    """Runs a stage's code on work.

    Args:
        host: the stage.
        give: takes what was produced; called in this thread.
        current: the present epoch of a job, or None if it has ended.
        max_bytes: bytes that one output may have.
    """

    def __init__(
        self,
        host: StageHost,
        give: Callable[[Produced], None],
        current: Callable[[bytes], int | None],
        max_bytes: int,
    ) -> None:
        self.host = host
        self._give = give
        self._current = current
        self._max_bytes = max_bytes
        self._out = Output(self.flush, self._check)
        self._job = b""
        self._epoch = 0
        self._done: dict[InputKey | None, int] = {}
        self._origin: InputKey | None = None
        self._tasks = 0
        self._works: list[Work] = []
        self._since = 0.0
        self._running_note = host.running_note
        self.descriptors: Descriptors | None = None
        """Those of this process that the stage's code must leave alone; None if they are not looked after."""

    @property
    def job(self) -> bytes | None:
        """The job whose task is run, or was the last."""
        return self._job or None

    def _begin(self, work: Work) -> None:
        if (work.job, work.epoch) != (self._job, self._epoch):
            self.flush()
            self._done = {}  # what another job gives has no part in this one's inputs
            self._job, self._epoch = work.job, work.epoch
        if not self._since:
            self._since = perf_counter()
        self._turn_to(work)

    def _turn_to(self, work: Work) -> None:
        """What is given and finished from now on is of this work."""
        self._count()
        self._origin = work.origin
        self._done.setdefault(work.origin, 0)

    def run(self, work: Work) -> None:
        """Do it. Outputs are given in batches, the last ones by :meth:`flush`."""
        self._begin(work)
        out = self._out
        if self._current(work.job) == work.epoch:
            if self.descriptors is not None:
                self.host.running_note = (
                    Watched(self._running_note, self.descriptors) if work.marks else self._running_note
                )
            self.host.inputs.begin(work.pieces)
            try:
                if work.origin is None:
                    pieces = [open_piece(piece) for piece in work.pieces]
                    self._tasks += sum(len(contents) for _, contents, _ in pieces)
                    self.host.run_ordered(
                        work.job,
                        pieces,
                        work.fails,
                        out,
                        final=work.final,
                        epoch=work.epoch,
                        unstarted=work.unstarted,
                        marks=work.marks,
                        logs=work.logs,
                    )
                else:
                    for piece in work.pieces:
                        runs, contents, metas = open_piece(piece)
                        self.host.run(
                            work.job,
                            runs,
                            contents,
                            metas,
                            out,
                            epoch=work.epoch,
                            unstarted=work.unstarted,
                            marks=work.marks,
                            logs=work.logs,
                        )
            except Stale:
                out.clear()
            except DecodeError as error:
                self._fail_work(work, error)
            self._look_after(work.job, work.epoch, lambda: list(_paths(work))[: work.started])
        self._count()
        self._works.append(work)

    def _look_after(self, job: bytes, epoch: int, ran: Callable[[], list[Path]]) -> None:
        """End this process if the stage's code has closed our descriptors, with what has just run noted."""
        if self.descriptors is None or self.descriptors.there():
            return
        if not self.host.running_note.read():
            self.host.running_note.several(job, epoch, ran())
        os._exit(LOST_DESCRIPTORS)

    def _count(self) -> None:
        """Tasks that have been finished since the last look count for the input that is running."""
        finished, self._out.finished = self._out.finished, 0
        if finished:
            self._done[self._origin] += finished
            self._tasks += finished

    def job_ended(self, job: bytes) -> None:
        """The job is over here, or starts over."""
        self.flush()
        self.host.job_ended(job)

    def _fail_work(self, work: Work, error: DecodeError) -> None:
        """Contents that cannot be unpacked here: each task that is left fails, without its input."""
        self.host.inputs.clear()
        for path in _paths(work):
            if not start_next(work.unstarted):
                return
            self._out.fails.append(Fail(path, 0, self.host.error(error, path, None, "DecodeError")))
            if work.origin is not None:
                self._done[work.origin] += 1

    def steal(self, give: Callable[[Produced], None]) -> bool:
        """From another thread: take what is finished while a long task runs. Returns whether there was any.

        The runner's thread has the output's lock whenever the stage's code does not run.
        """
        out = self._out
        if not (out or out.finished) or not out.lock.acquire(blocking=False):
            return False
        try:
            self.flush(give)
        finally:
            out.lock.release()
        return True

    def flush(self, give: Callable[[Produced], None] | None = None) -> None:
        """Give what there is.

        Raises:
            Broken: it could not be given, and is lost to this process.
        """
        try:
            self._flush(give or self._give)
        except self.host.through:
            raise
        except BaseException as error:
            raise Broken("what was made could not be given") from error

    def _flush(self, give: Callable[[Produced], None]) -> None:
        out = self._out
        if self._done:
            self._count()
        if not out and not self._works and not self._done:
            return
        now = perf_counter()
        runs, contents, metas = out.runs(), out.contents, out.metas
        ends, fails = out.ends, out.fails
        out.clear()
        batches: list[Batch] = []
        if contents:
            batches = self._pack(runs, contents, metas, fails)
        if ends or fails:
            if not batches or batches[-1].buffers:
                batches.append(self._batch([], 0, b"", None))
            batches[-1].ends, batches[-1].fails = ends, fails
        # All but the last batch leave with no task finished, so that custody outlives them.
        for batch in batches[:-1]:
            held = [(origin, 0) for origin in self._done]
            give(Produced(self._job, self._epoch, held, batch))
        self.host.inputs.packed()
        last = batches[-1] if batches else None
        done = list(self._done.items())
        works = tuple(self._works)
        produced = Produced(self._job, self._epoch, done, last, self._tasks, now - self._since, works)
        self._done = {self._origin: 0}
        self._tasks, self._works = 0, []
        self._since = now
        give(produced)

    def _check(self) -> None:
        """The user's code is running; it ends here if its job is void."""
        if self._current(self._job) != self._epoch:
            raise Stale

    def wait(self) -> float | None:
        """Seconds for which more work would be welcome before :meth:`idle`; None for no wait at all."""
        return None

    def idle(self) -> None:
        """No work is at hand: give what there is, and time anew from the next piece on."""
        self.flush()
        self.host.inputs.clear()
        self._done = {}
        self._since = 0.0

    def _batch(self, runs: list[PathRun], n: int, blob: Any, metas: bytes | None) -> Batch:
        return Batch(self._job, self._epoch, 0, runs, n, blob, metas)

    def _pack(
        self, runs: list[PathRun], contents: list[Any], metas: list[Any] | None, fails: list[Fail]
    ) -> list[Batch]:
        try:
            blob = pack_many(contents, taken=True)
            packed = None if metas is None else pack_many(metas, taken=True)
            if len(blob) > self._max_bytes:
                raise NeedsBuffers  # one of them may be over the limit
        except BaseException:  # no memory, or the code of a registered type: perhaps for one of them alone
            return self._pack_each(runs, contents, metas, fails)
        return [self._batch(runs, len(contents), blob, packed)]

    def _pack_each(
        self, runs: list[PathRun], contents: list[Any], metas: list[Any] | None, fails: list[Fail]
    ) -> list[Batch]:
        """One by one: large contents travel alone, and one that cannot travel fails alone."""
        batches = []
        for i, content in enumerate(contents):
            path = _path(runs, i)
            try:
                blob, buffers = pack_one(content)
                size = len(blob) + sum(memoryview(buffer).nbytes for buffer in buffers)
                if size > self._max_bytes:
                    raise TooLarge(size, self._max_bytes)
                meta = None if metas is None else pack_many([metas[i]])
            except (EncodeError, TooLarge, NeedsBuffers) as error:
                fails.append(Fail(path, 0, self.host.error(error, path, None, type(error).__name__)))
                continue
            except BaseException as error:
                fails.append(Fail(path, 0, self.host.error(error, path, None)))
                continue
            batch = self._batch([(path, 1)], 1, blob, meta)
            batch.buffers = buffers
            batches.append(batch)
        return batches


def _paths(work: Work) -> Iterator[Path]:
    """Those of a work's tasks, in order."""
    for batch, start, stop in work.pieces:
        yield from paths(cut_runs(batch.runs, start, stop))


def _path(runs: list[PathRun], index: int) -> Path:
    return cut_runs(runs, index, index + 1)[0][0]


def open_piece(piece: tuple[Batch, int, int]) -> tuple[list[PathRun], list[Any], list[Any] | None]:
    """Runs, contents and metas of a part of a batch. What cannot be unpacked is an :class:`Unreadable`, and
    what is unpacked when its task runs a :class:`Packed`.

    Raises:
        DecodeError: the batch has not as many contents or metas as it says.
    """
    batch, start, stop = piece
    n = stop - start
    blob = batch.blob if n == batch.n else slice_blob(batch.blob, batch.n, start, stop)
    contents = read_later(blob, n, batch.buffers)
    metas: list[Any] | None = None
    if batch.metas is not None:
        metas = read_later(slice_blob(batch.metas, batch.n, start, stop), n, [])
    elif {Unreadable, Packed} & set(map(type, contents)):
        metas = [None] * n  # the fast way, for tasks without meta, takes every content for one
    runs = batch.runs if n == batch.n else cut_runs(batch.runs, start, stop)
    return runs, contents, metas
