"""Stages as pyturbo users write them: super is not called, resources are allotted, logs are kept by hand."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zturbo import Job, Options, ReorderStage, Resources, Result, Stage, System, Task, get_logger

__all__ = [
    "Careless",
    "Checked",
    "Count",
    "Double",
    "Hold",
    "InOrder",
    "Kept",
    "Part",
    "Pipelines",
    "Say",
    "Shop",
]


class Count(Stage):
    """(first, n) gives n numbers, with their places, but marks 15 as failed; calls no super."""

    def __init__(self, resources: Resources) -> None:
        self.given = resources

    def process(self, task: Task) -> Iterator[Task]:
        first, n = task.content
        for i in range(n):
            sub_task = Task(meta={"i": i}, parent_task=task).start(self)
            if first + i == 15:
                sub_task.fail()
            else:
                sub_task.finish(first + i)
            yield sub_task


class Double(Stage):
    """Two workers; 13 fails, None for 17, 19 is marked as failed by hand."""

    def allocate_resource(self, resources: Resources, *, num_cpu: int = 1, **custom: Any) -> list[Resources]:
        return [resources.select(cpu=(0, num_cpu))] * 2

    def process(self, task: Task) -> Task | None:
        if task.content == 13:
            raise ValueError("no thirteen here")
        if task.content == 17:
            return None
        if task.content == 19:
            task.fail()
            return task
        return Task(task.content * 2, parent_task=task)


class InOrder(ReorderStage):
    """Numbers what comes, in its own order; the state is a job's own."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources)
        self.seen: list[int] = []

    def reset(self) -> None:
        super().reset()
        self.seen = []

    def get_sequence_id(self, task: Task) -> int:
        place: int = task.meta["i"]
        return place

    def process(self, task: Task) -> Task:
        self.seen.append(task.content)
        task.start(self)
        return task.finish((len(self.seen), task.content))


class Checked(Result):
    """A Result with a count of its own; chokes on one task, and on merging one job."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def collect(self, task: Task) -> None:
        if task.success and task.content[1] == 8:
            raise RuntimeError("cannot collect 8")
        super().collect(task)
        if task.success:
            self.total += task.content[1]

    def merge(self, job: Job) -> None:
        if job.name == "unmergeable":
            raise RuntimeError("cannot merge")
        self.results = sorted(self.results, reverse=True)


class Shop(System):
    """All of the above, with arguments of its own."""

    def get_num_pipeline(self, resources: Resources, *, share: int = 1) -> int:
        return share

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Count(resources), Double(resources, num_cpu=1), InOrder(resources)]

    def collect_results(
        self, job: Job, results_gen: Iterable[Task], *, result_cls: type[Result] = Checked
    ) -> None:
        super().collect_results(job, results_gen, result_cls=result_cls)


class Part(Stage):
    """Gives which CPUs its pipeline has."""

    def process(self, task: Task) -> Task:
        assert self.resources is not None and self.current_resource is not None
        return Task([self.resources.get("cpu"), self.current_resource.get("cpu")])


class Pipelines(System):
    """One pipeline per two CPUs of a made-up host; results as in 0.4."""

    def __init__(self, **custom: Any) -> None:
        super().__init__(**custom)
        self.tries = 0
        self.resources = Resources({"cpu": [0, 1, 2, 3]})

    def get_num_pipeline(self, resources: Resources, **custom: Any) -> int:
        return 2

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Part(resources)]

    def get_results(self, job: Job, results_gen: Iterable[Task]) -> Any:  # type: ignore[override]
        results = [(job.name, task.content) for task in results_gen]
        if job.name.startswith("stubborn"):
            self.tries += 1
            if self.tries < 3:
                raise RuntimeError("not yet")
        return results


class Careless(Stage):
    """Sleeps for as long as it is told; says where it runs and what its process was told."""

    def process(self, task: Task) -> Task:
        if task.content == "options":
            return Task(Options.as_dict())
        if task.content == "log":
            self.logger.debug("a word of DEBUG from a worker")
            get_logger("mine").info("a word of INFO from a worker")
            return Task(None)
        time.sleep(task.content)
        return Task(os.getpid())


class Say(System):
    """One stage of these."""

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Careless()]


class Hold(Stage):
    """Numbers up to n; the second half of job "b..." waits until a file is there. Notes each task it does."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)

    def process(self, task: Task) -> Iterator[Task]:
        name, n = task.content
        with (self.folder / "done").open("a") as done:
            done.write(f"{name}\n")
        for i in range(n):
            while i >= n // 2 and name.startswith("b") and not (self.folder / "gate").exists():
                time.sleep(0.01)
            yield Task(i, {"name": name})


class Kept(System):
    """Holds."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder = folder

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Hold(self.folder), Careful()]


class Careful(ReorderStage):
    """An ordered stage behind it."""

    def process(self, task: Task) -> Task:
        return task
