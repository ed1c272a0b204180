"""From work to what it gives: unpacks contents, calls the stage's code, and collects its outputs.

It runs in the worker's main thread; :mod:`zturbo.runtime.members.worker` moves work and results between it
and the I/O thread.
"""

from __future__ import annotations

from typing import Any

from zturbo.core.effects import Work
from zturbo.core.links.outbatch import cut_runs
from zturbo.errors import DecodeError
from zturbo.runtime.code.call import Call
from zturbo.runtime.code.context import Stale
from zturbo.runtime.code.laps import CODE, OWN
from zturbo.runtime.code.production import Production, paths_of
from zturbo.wire.blobs import slice_blob
from zturbo.wire.messages import Batch, PathRun
from zturbo.wire.payload import Packed, Unreadable, read_later

__all__ = ["Runner", "open_piece"]


class Runner:
    """Runs a plain or ordered stage's code on work.

    Args:
        production: takes what the stage's code makes, and knows the stage.
    """

    def __init__(self, production: Production) -> None:
        self.host = production.host
        self.production = production
        self.steal = production.steal
        self.flush = production.flush

    def run(self, work: Work) -> None:
        """Do it. Outputs are given in batches, the last ones by :meth:`Production.flush`."""
        host, production = self.host, self.production
        production.begin(work)
        if production.is_current(work):
            host.context.watch(work.marks)
            host.inputs.begin(work.pieces)
            try:
                self._call(work)
            except Stale:
                production.laps.turn(OWN)
                production.out.clear()
            except DecodeError as error:
                production.laps.turn(OWN)
                production.fail_work(work, error)
            host.context.look_after(work.job, work.epoch, lambda: list(paths_of(work))[: work.started])
        production.count()
        production.finish(work)

    def _call(self, work: Work) -> None:
        call, turn = Call.of(work, self.production.out), self.production.laps.turn
        if work.origin is None:
            pieces = [open_piece(piece) for piece in work.pieces]
            self.production.tasks += sum(len(contents) for _, contents, _ in pieces)
            turn(CODE)
            self.host.in_order.run(call, pieces, work.fails, final=work.final)
            turn(OWN)
            return
        for piece in work.pieces:
            opened = open_piece(piece)
            turn(CODE)
            self.host.plain.run(call, *opened)
            turn(OWN)

    def job_ended(self, job: bytes) -> None:
        """The job has ended here, or starts over."""
        self.production.end_job()
        self.host.instances.job_ended(job)

    def wait(self) -> float | None:
        """Seconds for which more work would be welcome before :meth:`idle`; None for no wait at all."""
        return None

    def idle(self) -> None:
        """No work is at hand."""
        self.production.idle()


def open_piece(piece: tuple[Batch, int, int]) -> tuple[list[PathRun], list[Any], list[Any] | None]:
    """Runs, contents and metas of a part of a batch.

    An :class:`Unreadable` stands for what cannot be unpacked, and a :class:`Packed` for what is unpacked when
    its task runs.

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
