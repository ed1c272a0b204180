"""Every error that zturbo raises, as one tree.

* ZturboError
    * UsageError (ValueError) ......... the caller asked for something that cannot be
        * NetworkFileError ............ a network file has a mistake: file, key, what was expected
        * UnknownPipeline ............. no pipeline of that name under this broker
        * JobConflict ................. the same job id was submitted with other content
    * EncodeError ..................... a content that msgpack and the extension types cannot carry
    * TooLarge ........................ a task over the message size limit
    * DecodeError ..................... bytes that came over a socket and are no message of ours
    * BrokerUnavailable (ConnectionError)  nobody answers at the broker's address
    * VersionMismatch ................. the two ends speak different protocol versions
    * StartError ...................... a process could not start: import, ``__init__``, ``init()``, bind
    * ResultTimeout (TimeoutError) .... the result was not there in time
    * JobError ........................ the job ended without a result
        * JobFailed ................... it failed as a whole
            * NondeterministicStage ... two executions of one task gave different fan-outs
        * JobCancelled ................ somebody cancelled it (a concurrent.futures.CancelledError)
        * ResultsLost ................. its results were there, and are not any more
        * ClientLost .................. its feeding client stayed away too long
        * JobTimeout .................. it took longer than its time-out
    * TaskError ....................... user code raised; carries the remote traceback
    * WorkerLost ...................... a task kept killing the worker that ran it
    * TaskTimeout ..................... a task ran longer than its stage's ``task_timeout``
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any

__all__ = [
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
        task: the :class:`zturbo.client.reader.FailedTask` that it is about: input, meta, stage, host,
            traceback. None if it is about no task.
    """

    task: Any = None


class UsageError(ZturboError, ValueError):
    """The caller asked for something that cannot be."""


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
    """No pipeline of that name under this broker."""


class JobConflict(UsageError):
    """The same job id was submitted with other content."""


class EncodeError(ZturboError):
    """A content that msgpack and the registered extension types cannot carry."""


class TooLarge(ZturboError):
    """A task over the message size limit.

    Args:
        size: bytes of the encoded task.
        limit: bytes that one message may have.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return f"a task of {self.size:,} bytes is over the message limit of {self.limit:,} bytes"


class DecodeError(ZturboError):
    """Bytes that came over a socket and are no message of ours."""


class BrokerUnavailable(ZturboError, ConnectionError):
    """Nobody answers at the broker's address."""


class VersionMismatch(ZturboError):
    """The two ends speak different protocol versions."""


class StartError(ZturboError):
    """A process could not start: import, ``__init__``, ``init()``, bind."""


class ResultTimeout(ZturboError, TimeoutError):
    """The result was not there in time."""


class JobError(ZturboError):
    """The job ended without a result."""


class JobFailed(JobError):
    """The job failed as a whole."""


class NondeterministicStage(JobFailed):
    """Two executions of one task gave different fan-outs."""


class JobCancelled(JobError, CancelledError):
    """Somebody cancelled the job."""


class ResultsLost(JobError):
    """The job's results were there, and are not any more."""


class JobTimeout(JobError):
    """The job took longer than its time-out."""


class ClientLost(JobError):
    """The job's feeding client stayed away past ``feed_timeout``."""


class TaskError(ZturboError):
    """User code raised; the remote traceback is in ``traceback``."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class WorkerLost(ZturboError):
    """A task kept killing the worker that ran it."""


class TaskTimeout(ZturboError):
    """A task ran longer than its stage's ``task_timeout``; its worker was ended."""


def by_name(name: str, default: type[ZturboError]) -> type[ZturboError]:
    """The class of this name that takes one sentence, for an error that came over the wire."""
    kind = globals().get(name) if name in __all__ else None
    if isinstance(kind, type) and issubclass(kind, ZturboError) and kind not in (NetworkFileError, TooLarge):
        return kind
    return default
