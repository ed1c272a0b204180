"""Every error that zturbo raises, as one tree.

* ZturboError
    * UsageError (ValueError) ......... the caller asked for something impossible
        * NetworkFileError ............ a network file has a mistake: file, key, what was expected
        * UnknownPipeline ............. the broker has no pipeline of that name
        * JobConflict ................. the same job id was submitted with other content
    * EncodeError ..................... a content of a type that zturbo cannot pack
    * TooLarge ........................ a task over the message size limit
    * DecodeError ..................... bytes from a socket that are not a message of zturbo
    * BrokerUnavailable (ConnectionError)  no broker answers at the address
    * AccessDenied (PermissionError) .. the key is wrong, missing or revoked, or may not do this
    * VersionMismatch ................. the two ends speak different protocol versions
    * StartError ...................... a process could not start: import, ``__init__``, ``init()``, bind
    * ResultTimeout (TimeoutError) .... the result did not come in time
    * JobError ........................ the job ended without a result
        * JobFailed ................... it failed as a whole
            * NondeterministicStage ... two executions of one task gave different fan-outs
        * JobCancelled ................ a client cancelled it (a concurrent.futures.CancelledError)
        * ResultsLost ................. its results have been lost
        * ClientLost .................. the client that fed it stayed away too long
        * JobTimeout .................. it took longer than its time-out
    * TaskError ....................... user code raised; carries the remote traceback
    * WorkerLost ...................... a task kept killing the worker that ran it
    * TaskTimeout ..................... a task ran longer than its stage's ``task_timeout``
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any

__all__ = [
    "AccessDenied",
    "BrokerUnavailable",
    "ClientLost",
    "DecodeError",
    "EncodeError",
    "JobCancelled",
    "JobConflict",
    "JobError",
    "JobFailed",
    "JobTimeout",
    "NetworkFileError",
    "NondeterministicStage",
    "ResultTimeout",
    "ResultsLost",
    "StartError",
    "TaskError",
    "TaskTimeout",
    "TooLarge",
    "UnknownPipeline",
    "UsageError",
    "VersionMismatch",
    "WorkerLost",
    "ZturboError",
    "by_name",
]


class ZturboError(Exception):
    """The base of all of zturbo's errors.

    Attributes:
        task: the :class:`zturbo.client.reader.FailedTask` that the error is about, with input, meta, stage,
            host and traceback. None if the error is not about a task.
    """

    task: Any = None


class UsageError(ZturboError, ValueError):
    """The caller asked for something impossible, such as an argument of a wrong type."""


class NetworkFileError(UsageError):
    """A network file has a mistake.

    Args:
        path: the file.
        key: the dotted key that is wrong, such as ``pipeline.video.stage.detect.workers``.
        problem: what is wrong and what was expected, as a sentence.
    """

    def __init__(self, path: str, key: str, problem: str) -> None:
        super().__init__(path, key, problem)
        self.path = path
        self.key = key
        self.problem = problem

    def __str__(self) -> str:
        where = f"{self.path}: {self.key}" if self.key else self.path
        return f"{where}: {self.problem}"


class UnknownPipeline(UsageError):
    """The broker has no pipeline of that name."""


class JobConflict(UsageError):
    """A job was submitted under the id of another job with other content."""


class EncodeError(ZturboError):
    """A content has a type that zturbo cannot pack and that is not registered."""


class TooLarge(ZturboError):
    """A task is over the message size limit.

    Args:
        size: bytes of the encoded task.
        limit: most bytes of one message.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return f"a task of {self.size:,} bytes is over the message limit of {self.limit:,} bytes"


class DecodeError(ZturboError):
    """Bytes came over a socket that are not a message of zturbo."""


class BrokerUnavailable(ZturboError, ConnectionError):
    """No broker answers at the address."""


class AccessDenied(ZturboError, PermissionError):
    """The broker does not let this process in: its key is wrong, missing or revoked. Or the key may not do
    what was asked: its role cannot, or the job is another's."""


class VersionMismatch(ZturboError):
    """The two ends speak different protocol versions."""


class StartError(ZturboError):
    """A process could not start: import, ``__init__``, ``init()``, bind."""


class ResultTimeout(ZturboError, TimeoutError):
    """The result did not come in time; the job goes on."""


class JobError(ZturboError):
    """The job ended without a result."""


class JobFailed(JobError):
    """The job failed as a whole."""


class NondeterministicStage(JobFailed):
    """Two executions of one task gave different fan-outs."""


class JobCancelled(JobError, CancelledError):
    """A client cancelled the job."""


class ResultsLost(JobError):
    """The job's results have been lost, with the sink's disk for instance."""


class JobTimeout(JobError):
    """The job took longer than its time-out."""


class ClientLost(JobError):
    """The client that fed the job stayed away past ``feed_timeout``."""


class _OfTask(ZturboError):
    """An error of one task: it says which one."""

    @property
    def stage(self) -> str:
        """Name of the stage that failed; empty if it is not known."""
        return getattr(self.task, "stage", "")

    @property
    def host(self) -> str:
        """Name of the host on which it failed; empty if it is not known."""
        return getattr(self.task, "host", "")

    @property
    def path(self) -> tuple[int, ...]:
        """The task's place in its job: the number of its root, then of each output on its way."""
        return getattr(self.task, "path", ())

    @property
    def content(self) -> Any:
        """The input of the stage that failed; None if it was not kept."""
        return getattr(self.task, "content", None)


class TaskError(_OfTask):
    """User code raised; the remote traceback is in ``traceback``."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class WorkerLost(_OfTask):
    """A task kept killing the worker that ran it."""


class TaskTimeout(_OfTask):
    """A task ran longer than its stage's ``task_timeout``; its worker was ended."""


def by_name(name: str, default: type[ZturboError]) -> type[ZturboError]:
    """The error class of a name that came over the wire.

    Args:
        name: name of the class.
        default: returned if no class of that name can be made from one sentence.
    """
    kind = globals().get(name) if name in __all__ else None
    if isinstance(kind, type) and issubclass(kind, ZturboError) and kind not in (NetworkFileError, TooLarge):
        return kind
    return default
