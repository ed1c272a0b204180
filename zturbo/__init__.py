"""zturbo: pipelines of stages as independent processes on any number of hosts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zturbo.log import get_logger
from zturbo.options import Options
from zturbo.resources import Resources
from zturbo.stage import ReorderStage, Stage
from zturbo.task import Job, Task, TaskLog
from zturbo.version import __version__
from zturbo.wire.payload import register

if TYPE_CHECKING:
    from zturbo.aio import AsyncClient
    from zturbo.bar import progressbar
    from zturbo.client import Client, JobHandle
    from zturbo.kinds import BatchStage
    from zturbo.pool import process_map
    from zturbo.result import Result
    from zturbo.system import System

__all__ = [
    "AsyncClient",
    "BatchStage",
    "Client",
    "Job",
    "JobHandle",
    "Options",
    "ReorderStage",
    "Resources",
    "Result",
    "Stage",
    "System",
    "Task",
    "TaskLog",
    "__version__",
    "get_logger",
    "process_map",
    "progressbar",
    "register",
]

_LATER = {
    "AsyncClient": "zturbo.aio",
    "BatchStage": "zturbo.kinds",
    "Client": "zturbo.client",
    "JobHandle": "zturbo.client",
    "Result": "zturbo.result",
    "System": "zturbo.system",
    "process_map": "zturbo.pool",
    "progressbar": "zturbo.bar",
}
"""Imported when they are used (PEP 562): each worker imports this package, and needs none of them."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
