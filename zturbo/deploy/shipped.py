"""Specs for the workers of stages that are objects of this process, as a ``System`` has them."""

from __future__ import annotations

import logging
import operator
from typing import Any

from zturbo.api.options import Options
from zturbo.api.stage import Stage
from zturbo.hardware.binding import cpus_to_bind
from zturbo.hardware.cpus import usable_cpus
from zturbo.hardware.resources import Resources
from zturbo.runtime.code.shipping import pack_stage

__all__ = ["MAX_TASK", "shipped_workers"]

log = logging.getLogger("zturbo.system")

MAX_TASK = 1 << 30
"""Most bytes of one task."""


def shipped_workers(
    pipeline: str, names: list[str], index: int, stage: Stage, task_timeout: float | None
) -> list[dict[str, Any]]:
    """The spec of each worker of a stage.

    Args:
        pipeline: name of the pipeline.
        names: names of the pipeline's stages.
        index: index of the stage.
        stage: the stage; each worker gets a pickled copy.
        task_timeout: seconds that one task may run; None for no limit.

    Raises:
        UsageError: the stage cannot be pickled.
    """
    pickled = pack_stage(stage)
    given = [_given(stage, worker_id) for worker_id in range(stage.num_worker)]
    _look_for_a_crowd(names[index], given)
    return [
        {
            "pipeline": pipeline,
            "stage": names[index],
            "index": index,
            "stages": len(names),
            "pickled": pickled,
            "resources": part,
            "worker_id": worker_id,
            "max_task_bytes": MAX_TASK,
            "task_timeout": task_timeout,
        }
        for worker_id, part in enumerate(given)
    ]


def _given(stage: Stage, worker_id: int) -> dict[str, Any]:
    """The CPUs and GPUs that ``allocate_resource`` gave a worker, to bind its process to."""
    if Options.no_binding:
        return {"gpu": None}
    parts = stage.resource_allocation or []
    part = parts[worker_id] if worker_id < len(parts) else None
    if not isinstance(part, Resources):
        return {}
    return {name: list(map(_plain, items)) for name in ("cpu", "gpu") if (items := part.get(name))}


def _plain(item: Any) -> int | str:
    """An index or a name as a plain value, which a spec may carry."""
    try:
        return operator.index(item)
    except TypeError:
        return str(item)


def _look_for_a_crowd(name: str, given: list[dict[str, Any]]) -> None:
    """Warn if a stage's workers have to share a few CPUs while other CPUs are idle."""
    bound = [cpus_to_bind(part) for part in given]
    cpus = set().union(*bound)
    there = usable_cpus().ids
    if all(bound) and len(bound) > len(cpus) and len(cpus) < len(there):
        log.warning(
            "%s: its %d workers were all given CPUs %s, and run on no other, of the %d that there are. Give "
            "each its own in allocate_resource, as resources.split(%d) does, or set the option no_binding",
            name,
            len(bound),
            sorted(cpus),
            len(there),
            len(bound),
        )
