"""zturbo: pipelines of stages as independent processes on any number of hosts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zturbo.version import __version__

if TYPE_CHECKING:
    from zturbo.api.arrays import empty
    from zturbo.api.log import get_logger
    from zturbo.api.options import Options
    from zturbo.api.pipeline import Pipeline
    from zturbo.api.result import Result
    from zturbo.api.stage import ReorderStage, Stage
    from zturbo.api.stage_kinds import BatchStage
    from zturbo.api.task import Job, Task, TaskLog
    from zturbo.client.aio import AsyncClient
    from zturbo.client.client import Client, JobHandle
    from zturbo.hardware.resources import Resources
    from zturbo.system.process_map import process_map
    from zturbo.system.system import System
    from zturbo.terminal.bar import progressbar
    from zturbo.wire.payload import register

__all__ = [
    "AsyncClient",
    "BatchStage",
    "Client",
    "Job",
    "JobHandle",
    "Options",
    "Pipeline",
    "ReorderStage",
    "Resources",
    "Result",
    "Stage",
    "System",
    "Task",
    "TaskLog",
    "__version__",
    "empty",
    "get_logger",
    "process_map",
    "progressbar",
    "register",
]

_LATER = {
    "AsyncClient": "zturbo.client.aio",
    "BatchStage": "zturbo.api.stage_kinds",
    "Client": "zturbo.client.client",
    "Job": "zturbo.api.task",
    "JobHandle": "zturbo.client.client",
    "Options": "zturbo.api.options",
    "Pipeline": "zturbo.api.pipeline",
    "ReorderStage": "zturbo.api.stage",
    "Resources": "zturbo.hardware.resources",
    "Result": "zturbo.api.result",
    "Stage": "zturbo.api.stage",
    "System": "zturbo.system.system",
    "Task": "zturbo.api.task",
    "TaskLog": "zturbo.api.task",
    "empty": "zturbo.api.arrays",
    "get_logger": "zturbo.api.log",
    "process_map": "zturbo.system.process_map",
    "progressbar": "zturbo.terminal.bar",
    "register": "zturbo.wire.payload",
}
"""Names that are imported on first use (PEP 562): each process imports this package, few need them all."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
