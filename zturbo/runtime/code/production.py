"""The outputs of a stage's code on their way out of the code's thread.

The production packs them into batches, and says which inputs they came of and how many of each are finished.
Outputs of several pieces of work of one job share a batch, as long as work is at hand. So do outputs of
several jobs share a hand-over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter
from typing import Any

from zturbo.core.effects import Work
from zturbo.core.links.outbatch import cut_runs, paths
from zturbo.core.worker.held_roots import InputKey
from zturbo.core.worker.produced import Produced
from zturbo.errors import DecodeError, EncodeError, TooLarge
from zturbo.runtime.code.context import Broken, Stale
from zturbo.runtime.code.cutting import start_next
from zturbo.runtime.code.laps import CODE, OWN, Laps
from zturbo.runtime.code.output import BATCH_BYTES, FLUSH_AFTER, Output
from zturbo.runtime.code.stagehost import StageHost
from zturbo.telemetry.histogram import Histogram
from zturbo.wire.blobs import edges, spans
from zturbo.wire.messages import Batch, Fail, Path, PathRun
from zturbo.wire.payload import NeedsBuffers, pack_many, pack_metas, pack_one

__all__ = ["Production", "paths_of"]

TOGETHER = 64
"""Jobs' outputs that are handed over at once, at most."""

TOGETHER_BYTES = 64 << 10
"""Bytes of outputs that wait for those of other jobs, about."""


class Production:
    """What a stage's code has made of pieces of work, and has not given away yet.

    Args:
        host: the stage.
        give: takes what was produced, in order; called in the code's thread.
        current: the present epoch of a job, or None if it has ended.
        max_bytes: bytes that one output may have.
        laps: what the code's thread spends its time on.

    Attributes:
        times: times per task, of each hand-over; where tasks overlap, the runner adds that of each task.
        finished: tasks finished in all.
        given: outputs in all.
        failed: failures that began here, in all.
    """

    def __init__(
        self,
        host: StageHost,
        give: Callable[[list[Produced]], None],
        current: Callable[[bytes], int | None],
        max_bytes: int,
        laps: Laps | None = None,
    ) -> None:
        self.host = host
        self._give = give
        self._current = current
        self._max_bytes = max_bytes
        self.laps = laps or Laps()
        self.times = Histogram()
        self.overlapping = host.concurrency > 0
        self.finished = self.given = self.failed = 0
        self._busy = 0.0
        """Seconds that the stage's code had run at the last hand-over."""
        self.out = Output(self._flush_in_code, self._check)
        self.job = b""
        self.epoch = 0
        self.done: dict[InputKey | None, int] = {}
        """Input -> number of its tasks that were finished since the last flush, for each input of the outputs
        that are not given yet."""
        self.origin: InputKey | None = None
        """The input that runs: tasks that are finished count for it."""
        self.tasks = 0
        """Tasks that were finished since the last flush."""
        self._works: list[Work] = []
        self._since = 0.0
        self._ready: list[Produced] = []
        """What is packed, and waits to be given."""
        self._ready_bytes = 0
        self._ready_at = 0.0
        """Since when something is ready."""

    def is_current(self, work: Work) -> bool:
        """Whether the work's job has not ended or started over since the work was made."""
        return self._current(work.job) == work.epoch

    def arrived(self) -> None:
        """Work is at hand: its time begins, unless it runs already."""
        if not self._since:
            self._since = perf_counter()

    def begin(self, work: Work) -> None:
        """Outputs and finished tasks are of this work from now on."""
        if work.job != self.job or work.epoch != self.epoch:
            self.end_job()
            self.done = {}  # what another job gives has no part in this one's inputs
            self.job, self.epoch = work.job, work.epoch
        self.arrived()
        self.turn_to(work)

    def turn_to(self, work: Work) -> None:
        """As :meth:`begin`, for work of the same job and epoch."""
        self.count()
        self.origin = work.origin
        if (recorder := self.laps.recorder) is not None and work.pieces:
            recorder.work(work.job, work.pieces)
        self.done.setdefault(work.origin, 0)

    def count(self) -> None:
        """Tasks that have been finished since the last look count for the input that runs."""
        finished, self.out.finished = self.out.finished, 0
        if finished:
            self.done[self.origin] += finished
            self.tasks += finished

    def finish_one(self) -> None:
        """One more task of the work that runs is finished."""
        self.done[self.origin] += 1
        self.tasks += 1

    def finish(self, work: Work) -> None:
        """All tasks of this work are finished, or taken back."""
        self._works.append(work)

    def fail_work(self, work: Work, error: DecodeError) -> None:
        """Contents that cannot be unpacked here: each task that is left fails, without its input."""
        self.host.inputs.clear()
        for path in paths_of(work):
            if not start_next(work.unstarted):
                return
            self.fail_unreadable(path, error)
            if work.origin is not None:
                self.done[work.origin] += 1

    def fail_unreadable(self, path: Path, error: DecodeError) -> None:
        """A task fails because its batch cannot be unpacked."""
        self.out.fails.append(Fail(path, 0, self.host.failures.error(error, path, None, "DecodeError")))

    def steal(self, give: Callable[[list[Produced]], None]) -> bool:
        """From another thread: take what is finished while a task runs. Returns whether there was any.

        The outputs may be taken only while the stage's code runs.
        """
        out = self.out
        if not (self._ready or out or out.finished) or not out.begin_taking():
            return False
        try:
            self.flush(give)
        finally:
            out.end_taking()
        return True

    def flush(self, give: Callable[[list[Produced]], None] | None = None, *, wait: bool = False) -> None:
        """Give what there is.

        Args:
            give: takes it in place of the taker that this was made with.
            wait: give it only if it is time to; else pack it, and give it with what comes next.

        Raises:
            Broken: it could not be given, and is lost to this process.
        """
        try:
            self._pack_up()
            if wait and not self._due():
                return
            ready, self._ready, self._ready_bytes = self._ready, [], 0
            if ready:
                (give or self._give)(ready)
        except self.host.context.through:
            raise
        except BaseException as error:
            raise Broken("what was made could not be given") from error

    def _flush_in_code(self) -> None:
        """As :meth:`flush`, amid the stage's code, whose time this is not."""
        before = self.laps.turn(OWN)
        try:
            self.flush()
        finally:
            self.laps.turn(before)

    def end_job(self) -> None:
        """What comes next is of another job: pack what there is, and give it with that, or if it is time."""
        if not self._ready:
            self._ready_at = perf_counter()
        self.flush(wait=True)

    def _has_some(self) -> bool:
        """Whether there is anything to pack or to give."""
        return bool(self._ready or self.done or self._works or self.out)

    def _due(self) -> bool:
        """Whether what is packed is to be given: it is much, or has waited for a while."""
        return (
            len(self._ready) >= TOGETHER
            or self._ready_bytes > TOGETHER_BYTES
            or perf_counter() - self._ready_at > FLUSH_AFTER
        )

    def _pack_up(self) -> None:
        """Pack what there is."""
        out = self.out
        if self.done:
            self.count()
        if not out and not self._works and not self.done:
            return
        now = perf_counter()
        self._measure(len(out.contents), len(out.fails) - out.passing)
        runs, contents, metas = out.runs(), out.contents, out.metas
        ends, fails, passing = out.ends, out.fails, out.passing
        out.clear()
        batches: list[Batch] = []
        if contents:
            batches = self._pack(runs, contents, metas, fails)
        if ends or fails:
            if not batches or batches[-1].buffers:
                batches.append(self._batch([], 0, b"", None))
            batches[-1].ends, batches[-1].fails = ends, fails
        # Only the last batch reports tasks as finished. So the inputs stay in custody until all are given.
        for batch in batches[:-1]:
            origins: list[tuple[InputKey | None, int]] = [(origin, 0) for origin in self.done]
            self._add(Produced(self.job, self.epoch, origins, batch))
        self.host.inputs.packed()
        last = batches[-1] if batches else None
        done, works = list(self.done.items()), tuple(self._works)
        produced = Produced(self.job, self.epoch, done, last, self.tasks, now - self._since, works, passing)
        self.done = {self.origin: 0}
        self.tasks, self._works = 0, []
        self._since = now
        self._add(produced)

    def _measure(self, given: int, failed: int) -> None:
        """Count what is packed now."""
        self.finished += self.tasks
        self.given += given
        self.failed += failed
        if not self.overlapping:
            busy = self.laps.read()[CODE]
            if self.tasks:
                self.times.add(self.tasks, busy - self._busy)
                self._busy = busy

    def _add(self, produced: Produced) -> None:
        self._ready.append(produced)
        if produced.batch is not None:
            nbytes = produced.batch.nbytes
            self._ready_bytes += nbytes
            if self.laps.recorder is not None:
                self.laps.recorder.given += nbytes

    def _check(self) -> None:
        """The stage's code has just given something; it ends here if its job is void."""
        if self._current(self.job) != self.epoch:
            self.out.clear()
            raise Stale

    def idle(self) -> None:
        """No work is at hand: give what there is, and measure time anew from the next piece of work on."""
        self.host.context.look()
        if self._has_some():
            self.flush()
        self.host.inputs.clear()
        self.done = {}
        self._since = 0.0

    def _batch(self, runs: list[PathRun], n: int, blob: Any, metas: bytes | None) -> Batch:
        return Batch(self.job, self.epoch, 0, runs, n, blob, metas)

    def _pack(
        self, runs: list[PathRun], contents: list[Any], metas: list[Any] | None, fails: list[Fail]
    ) -> list[Batch]:
        try:
            blob = pack_many(contents, taken=True)
            packed = None if metas is None else pack_metas(metas, taken=True)
            if len(blob) > min(BATCH_BYTES, self._max_bytes):
                return self._cut(runs, blob, packed, edges(blob, len(contents)))
        except BaseException:  # no memory, or the code of a registered type: perhaps for one of them alone
            return self._pack_each(runs, contents, metas, fails)
        return [self._batch(runs, len(contents), blob, packed)]

    def _cut(self, runs: list[PathRun], blob: bytes, metas: bytes | None, at: list[int]) -> list[Batch]:
        """Batches of about :data:`BATCH_BYTES`. Raises NeedsBuffers if one content is over the limit."""
        if max(end - begin for begin, end in pairwise(at)) > self._max_bytes:
            raise NeedsBuffers
        of_metas = [0] * len(at) if metas is None else edges(metas, len(at) - 1)
        return [
            self._batch(
                cut_runs(runs, start, stop),
                stop - start,
                blob[at[start] : at[stop]],
                None if metas is None else metas[of_metas[start] : of_metas[stop]],
            )
            for start, stop in spans(at, BATCH_BYTES)
        ]

    def _pack_each(
        self, runs: list[PathRun], contents: list[Any], metas: list[Any] | None, fails: list[Fail]
    ) -> list[Batch]:
        """One by one: large contents travel alone, and one that cannot travel fails alone."""
        batches = []
        for i, content in enumerate(contents):
            path = cut_runs(runs, i, i + 1)[0][0]
            try:
                blob, buffers = pack_one(content)
                size = len(blob) + sum(memoryview(buffer).nbytes for buffer in buffers)
                if size > self._max_bytes:
                    raise TooLarge(size, self._max_bytes)
                meta = None if metas is None else pack_metas([metas[i]])
            except BaseException as error:
                ours = issubclass(type(error), (EncodeError, TooLarge, NeedsBuffers))
                kind = type(error).__name__ if ours else "TaskError"
                fails.append(Fail(path, 0, self.host.failures.error(error, path, None, kind)))
                continue
            batch = self._batch([(path, 1)], 1, blob, meta)
            batch.buffers = buffers
            batches.append(batch)
        return batches


def paths_of(work: Work) -> Iterator[Path]:
    """The paths of a work's tasks, in order."""
    for batch, start, stop in work.pieces:
        yield from paths(cut_runs(batch.runs, start, stop))
