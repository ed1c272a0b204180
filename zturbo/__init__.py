"""zturbo: pipelines of stages as independent processes on any number of hosts."""

from zturbo.client import Client, JobHandle
from zturbo.options import Options
from zturbo.resources import Resources
from zturbo.result import Result
from zturbo.stage import ReorderStage, Stage
from zturbo.system import System
from zturbo.task import Job, Task, TaskLog
from zturbo.version import __version__
from zturbo.wire.payload import register

__all__ = [
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
    "register",
]
