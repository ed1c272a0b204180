"""Poison: how often a task was running when its worker died, and what is done about it.

Each death is a strike for (job, stage, path), remembered across epochs. A task that is poison dies at the
same place each time; a task that merely runs for long, and is hit by other things, does not. So deaths count
together if the task had given the same number of outputs. The limit is the pipeline's ``max_task_retries``.

With one strike less than the limit a task is a suspect, and runs alone. At the limit it is condemned. So is a
task with :data:`ANYWHERE` times the limit of deaths in all. A worker that meets a condemned task emits its
failure, ``WorkerLost``, and does not run it. Above an ordered stage the worker first runs it for the outputs
that it had given. A task that was ended for its time-out is condemned at once, with ``TaskTimeout``.

Where no task was running, the nearest is struck: the one that was to be next, or the one that had ended
last. It may have caused the death, by a thread that it started, say. A strike does no harm to a task that is
done, which does not come again.

Where several tasks were running, in a batch or beside each other, the broker cannot know which one it was.
Each gets a strike, and becomes a suspect as any other. But none is condemned in company: it runs alone first.
"""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.core.order.tree import BEFORE_ID
from zturbo.errortext import clip
from zturbo.slotted import slotted
from zturbo.wire.messages import MAX_MARKS, MAX_STAGES, Mark, Path, is_number, is_path
from zturbo_broker.jobs.job import Job

__all__ = ["Death", "Running", "stand", "strike"]

ANYWHERE = 4
"""A task with this many times the limit of deaths, after any numbers of outputs, is condemned too."""

Running = tuple[bytes, int, Path, int]
"""(job, epoch, path) of a task that was running, and how many outputs it had given."""


@slotted(frozen=True)
class Death:
    """A worker's end, as its node tells it."""

    stage: int
    worker: str
    """For people: stage, host, process."""
    text: str
    """``SIGSEGV``, ``exit code 3``, ..."""
    cause: str = ""
    """Empty if it died by itself, ``between`` if no task was running then; ``timeout``, ``cancelled`` or
    ``stopped`` if its node ended it."""
    running: tuple[Running, ...] = ()
    """The task that was running, or all those that were; the nearest if the cause is ``between``."""

    @property
    def sentence(self) -> str:
        """What happened, for the job's status and the log."""
        ended = {
            "timeout": "was ended: its task ran longer than task_timeout",
            "cancelled": "was ended, to stop a task of a job that has ended",
            "stopped": "was told to stop",
        }.get(self.cause, f"died: {self.text}")
        if not self.running:
            return f"{self.worker} {ended}"
        others = f" and {len(self.running) - 1} others" if len(self.running) > 1 else ""
        while_ = "while no task ran; the nearest was" if self.cause == "between" else "while it ran"
        return f"{self.worker} {ended}, {while_} task {_name(self.running[0][2])}{others}"


def strike(job: Job, death: Death, limit: int) -> bool:
    """Count a death against those tasks of a job that were running. Returns whether its marks changed.

    Args:
        job: the job.
        death: with ``running``.
        limit: deaths after which a task is condemned.
    """
    if death.cause not in ("", "between", "timeout"):
        return False
    mine = [
        running
        for running in death.running
        if running[0] == job.id and running[1] <= job.epoch and _fits(death.stage, *running[2:])
    ]
    if len(death.running) > 1:
        changed = [_strike_in_company(job, death, path, given, limit) for _, _, path, given in mine]
        return any(changed)
    return any(_strike_alone(job, death, path, given, limit) for _, _, path, given in mine)


def _strike_in_company(job: Job, death: Death, path: Path, given: int, limit: int) -> bool:
    if death.cause != "timeout":
        deaths = job.strikes.setdefault((death.stage, path), [])
        deaths.append((given, death.sentence))
        if len(deaths) < limit - 1:
            return False
    return _mark(job, Mark(death.stage, path, "", death.sentence))


def _strike_alone(job: Job, death: Death, path: Path, given: int, limit: int) -> bool:
    if death.cause == "timeout":
        stood = _stood(job, death.stage, [given])
        return _mark(job, Mark(death.stage, path, "TaskTimeout", death.sentence, stood))
    deaths = job.strikes.setdefault((death.stage, path), [])
    deaths.append((given, death.sentence))
    tries = len(deaths)
    here = sum(at == given for at, _ in deaths)
    if here >= limit or tries >= ANYWHERE * limit:
        times = "once" if tries == 1 else f"{tries} times"
        text = f"task {_name(path)} killed its worker, {times}; the last time, {death.sentence}"
        stood = _stood(job, death.stage, [at for at, _ in deaths])
        return _mark(job, Mark(death.stage, path, "WorkerLost", text, stood))
    if here == limit - 1 or tries == ANYWHERE * limit - 1:
        return _mark(job, Mark(death.stage, path, "", death.sentence))
    return False


def _stood(job: Job, stage: int, given: list[int]) -> int:
    """How many children of a condemned task stand.

    Before an ordered stage it has to be the same number in each epoch, and no fewer than may have been given
    out: as many as the task ever gave. Elsewhere the next sequencer knows, and no worker runs the task again.
    """
    stamp = job.stamp
    later = stamp is not None and any(ordered > stage for ordered in stamp.ordered)
    return max(given) if later else 0


def stand(marks: tuple[Mark, ...], failures: Sequence[tuple[int, Path, int]]) -> tuple[Mark, ...]:
    """Marks, with those of the failures (stage, path, children before it) that each later epoch repeats."""
    known = {(mark.stage, mark.path): mark for mark in marks}
    for stage, path, count in failures:
        if not _fits(stage, path, count):
            continue
        old = known.get((stage, path))
        if old is None or not old.kind:
            old = Mark(
                stage, path, "TaskError", "it failed in an earlier epoch, and the failure was given out"
            )
        known[(stage, path)] = old._replace(given=count)
    return tuple(known.values())


def _fits(stage: int, path: Path, given: int) -> bool:
    """Whether a stamp can carry a mark of this task. A stamp that no member can read would stop its job."""
    return is_number(stage, 0, MAX_STAGES) and is_path(path) and is_number(given)


def _mark(job: Job, mark: Mark) -> bool:
    mark = mark._replace(text=clip(mark.text))
    old = next((old for old in job.marks if (old.stage, old.path) == (mark.stage, mark.path)), None)
    if old is not None and old.kind and not mark.kind:
        return False
    others = tuple(old for old in job.marks if (old.stage, old.path) != (mark.stage, mark.path))
    if len(others) >= MAX_MARKS:
        return False
    job.marks = (*others, mark)
    return True


def _name(path: Path) -> str:
    return ".".join(str(part) for part in path if part != BEFORE_ID) or "(the job's root)"
