"""zturbo: pipelines of stages as independent processes on any number of hosts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zturbo.api.log import get_logger
from zturbo.api.options import Options
from zturbo.api.stage import ReorderStage, Stage
from zturbo.api.task import Job, Task, TaskLog
from zturbo.hardware.resources import Resources
from zturbo.version import __version__
from zturbo.wire.payload import register

if TYPE_CHECKING:
    from zturbo.api.result import Result
    from zturbo.api.stage_kinds import BatchStage
    from zturbo.client.aio import AsyncClient
    from zturbo.client.client import Client, JobHandle
    from zturbo.system.process_map import process_map
    from zturbo.system.system import System
    from zturbo.terminal.bar import progressbar

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
    "AsyncClient": "zturbo.client.aio",
    "BatchStage": "zturbo.api.stage_kinds",
    "Client": "zturbo.client.client",
    "JobHandle": "zturbo.client.client",
    "Result": "zturbo.api.result",
    "System": "zturbo.system.system",
    "process_map": "zturbo.system.process_map",
    "progressbar": "zturbo.terminal.bar",
}
"""Names that are imported on first use (PEP 562), because each worker imports this package and needs none."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
