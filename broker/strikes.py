"""Poison: how often a task was running when its worker died, and what is done about it.

Each death is a strike for (job, stage, path), kept across epochs. A task that gives many outputs and is
poison dies at the same place each time; one that merely runs for long and is hit by other things does
not: so those strikes count together that came after as many outputs, and all of them up to
:data:`ANYWHERE` times the limit. A task with one strike less than the
pipeline's ``max_task_retries`` is a suspect and runs alone; one with as many is condemned: nobody runs
it any more (but, above an ordered stage, for the outputs that it had given), and whoever meets it emits
its failure, ``WorkerLost``. A task that was ended for its
time-out is condemned at once, with ``TaskTimeout``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.job import Job
from zturbo.wire.messages import Mark, Path

__all__ = ["Death", "stand", "strike"]

ANYWHERE = 4


@dataclass(slots=True, frozen=True)
class Death:
    """A worker's end, as its node tells it."""

    stage: int
    worker: str
    """For people: stage, host, process."""
    text: str
    """``SIGSEGV``, ``exit code 3``, ..."""
    cause: str = ""
    """Empty if it died by itself; ``timeout``, ``cancelled`` or ``stopped`` if its node ended it."""
    running: tuple[bytes, int, Path, int] | None = None
    """(job, epoch, path) of the task that was running, and how many outputs it had given."""
    others: tuple[Path, ...] = ()
    """Tasks that were running at the same time."""

    @property
    def sentence(self) -> str:
        """What happened, for the job's status and the log."""
        ended = {
            "timeout": "was ended: its task ran longer than task_timeout",
            "cancelled": "was ended, to stop a task of a job that has ended",
            "stopped": "was told to stop",
        }.get(self.cause, f"died: {self.text}")
        if self.running is None:
            return f"{self.worker} {ended}"
        others = f" and {len(self.others)} others" if self.others else ""
        return f"{self.worker} {ended}, while it ran task {_name(self.running[2])}{others}"


def strike(job: Job, death: Death, limit: int) -> bool:
    """Count a death against the task that was running. Returns whether the job's marks changed.

    Args:
        job: its job.
        death: with ``running``.
        limit: deaths after which a task is condemned.
    """
    assert death.running is not None
    _, _, path, given = death.running
    if death.others:
        if death.cause not in ("", "timeout"):
            return False
        for one in (path, *death.others):  # nobody knows which it was: from now on each runs alone
            if not death.cause:
                job.strikes.setdefault((death.stage, one), []).append((given, death.sentence))
            _mark(job, Mark(death.stage, one, "", death.sentence))
        return True
    if death.cause == "timeout":
        stood = _stood(job, death.stage, [given])
        return _mark(job, Mark(death.stage, path, "TaskTimeout", death.sentence, stood))
    if death.cause:
        return False
    deaths = job.strikes.setdefault((death.stage, path), [])
    deaths.append((given, death.sentence))
    tries = len(deaths)
    here = sum(at == given for at, _ in deaths)
    if here >= limit or tries >= ANYWHERE * limit:
        times = "once" if tries == 1 else f"{tries} times"
        text = f"task {_name(path)} killed whoever ran it, {times}; the last time, {death.sentence}"
        stood = _stood(job, death.stage, [at for at, _ in deaths])
        return _mark(job, Mark(death.stage, path, "WorkerLost", text, stood))
    if here == limit - 1 or tries == ANYWHERE * limit - 1:
        return _mark(job, Mark(death.stage, path, "", death.sentence))
    return False


def _stood(job: Job, stage: int, given: list[int]) -> int:
    """How many children of a condemned task stand.

    Before an ordered stage it has to be the same number in each epoch, and no fewer than may have been given
    out: as many as the task ever gave. Elsewhere the next sequencer knows, and nobody runs the task again.
    """
    stamp = job.stamp
    later = stamp is not None and any(ordered > stage for ordered in stamp.ordered)
    return max(given) if later else 0


def stand(marks: tuple[Mark, ...], failures: Sequence[tuple[int, Path, int]]) -> tuple[Mark, ...]:
    """Marks with those of failures, (stage, path, children before it), that another epoch is to repeat."""
    known = {(mark.stage, mark.path): mark for mark in marks}
    for stage, path, count in failures:
        old = known.get((stage, path))
        if old is None or not old.kind:
            old = Mark(stage, path, "TaskError", "it failed in an earlier epoch, and that was given out")
        known[(stage, path)] = old._replace(given=count)
    return tuple(known.values())


def _mark(job: Job, mark: Mark) -> bool:
    old = next((old for old in job.marks if (old.stage, old.path) == (mark.stage, mark.path)), None)
    if old is not None and old.kind and not mark.kind:
        return False
    others = tuple(old for old in job.marks if (old.stage, old.path) != (mark.stage, mark.path))
    job.marks = (*others, mark)
    return True


def _name(path: Path) -> str:
    return ".".join(map(str, path)) or "(the job's root)"
