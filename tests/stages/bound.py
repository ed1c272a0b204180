"""A stage that tells how its process was bound when this module was imported, and what it got."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from zturbo import Resources, Stage, System, Task
from zturbo.hardware.binding import THREADS

__all__ = ["Bound", "ByIndex", "Spread"]

NAMES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", *THREADS)
AT_IMPORT = {
    "cpus": sorted(os.sched_getaffinity(0)),
    "env": {name: os.environ[name] for name in NAMES if name in os.environ},
}


class Bound(Stage):
    """Writes a report at its start, and gives it for every task.

    Args:
        resources: what its worker may use.
        folder: where the report goes, as STAGE-ID.json.
        label: its stage's name.
    """

    def __init__(self, resources: Resources, folder: str = "", label: str = "bound", **custom: Any) -> None:
        super().__init__(resources, **custom)
        self.got = dict(resources.resources)
        self.file = Path(folder, label)

    def init(self, worker_id: int = 0) -> None:
        super().init(worker_id)
        current = self.current_resource
        self.report = {
            **AT_IMPORT,
            "pid": os.getpid(),
            "threads": sorted({cpu for tid in os.listdir("/proc/self/task") for cpu in _cpus(int(tid))}),
            "got": self.got,
            "current": None if current is None else current.resources,
        }
        if self.file.parent != Path():
            written = self.file.with_name(f"{self.file.name}-{worker_id}.part")
            written.write_text(json.dumps(self.report))
            written.rename(written.with_suffix(".json"))

    def process(self, task: Task) -> Task:
        return Task(self.report)


def _cpus(tid: int) -> set[int]:
    """CPUs that a thread may run on; none if it has just ended."""
    try:
        return os.sched_getaffinity(tid)
    except ProcessLookupError:
        return set()


class ByIndex(Bound):
    """Takes its GPU by the index that the host has for it, as PyTorch says that it cannot."""

    def init(self, worker_id: int = 0) -> None:
        raise RuntimeError("CUDA error: invalid device ordinal")


class Halves(Bound):
    """One worker for each item of ``parts``."""

    def allocate_resource(self, resources: Resources, *, parts: Any = (), **custom: Any) -> list[Resources]:
        return [Resources(part) for part in parts]


class Spread(System):
    """One such stage.

    Args:
        folder: where its workers' reports go.
        parts: what each of them is given.
        options: of the System.
    """

    def __init__(self, folder: Path, parts: list[dict[str, list[Any]]], **options: Any) -> None:
        super().__init__(**options)
        self.folder = folder
        self.parts = parts

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Halves(resources, str(self.folder), "halves", parts=self.parts)]
