"""The connection that a client, its handles and its readers share: an I/O thread, a watch, callbacks."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from concurrent.futures import Future
from typing import Any

from zturbo.api.task import Job, Task
from zturbo.client.acceptance import Acceptance
from zturbo.client.io import ClientIO
from zturbo.client.outbox import Outbox
from zturbo.client.submissions import Submission, Submissions
from zturbo.client.tracecontext import with_context
from zturbo.client.watch import Callbacks, Watch
from zturbo.errors import AccessDenied, BrokerUnavailable
from zturbo.runtime.net.keys import ASKING, Security, read_keys
from zturbo.runtime.net.localkeys import find_local
from zturbo.wire.control.message import Answer, Request

__all__ = ["Connection", "connect"]

log = logging.getLogger("zturbo.client")


def connect(broker: str, timeout: float, keys: str | os.PathLike[str] | None) -> tuple[Connection, str]:
    """A connection, and the role of its key: the one that is named, else ``$ZTURBO_KEYS``, else one that this
    user's broker on loopback has made. The role is empty without keys.

    Raises:
        UsageError: the keys cannot be used.
        AccessDenied: the broker does not let this key in, or it needs one and there is none.
        BrokerUnavailable: no broker answers there.
        VersionMismatch: the broker speaks another protocol version.
    """
    security = _security(broker, keys)
    try:
        return Connection(broker, timeout, security), "" if security is None else security.who.role
    except AccessDenied:  # a broker of this user may have come since, with keys of its own
        found = _security(broker, keys) if security is None else None
        if found is None:
            raise
    return Connection(broker, timeout, found), found.who.role


def _security(broker: str, keys: str | os.PathLike[str] | None) -> Security | None:
    path = keys or os.environ.get("ZTURBO_KEYS") or find_local(broker)
    return read_keys(os.fspath(path), ASKING) if path and broker.startswith("tcp:") else None


class Connection:
    """A connection to a broker that has answered. A connection that the program drops is closed.

    Args:
        broker: its address.
        timeout: seconds that a question to the broker may take.
        security: CURVE keys, if there are any.

    Raises:
        BrokerUnavailable: no broker answers there.
        VersionMismatch: the broker speaks another protocol version.

    Attributes:
        io: the I/O thread, which has the sockets.
        watch: tells when jobs end.
        callbacks: a thread for users' callbacks.
        info: the broker's greeting: its pipelines, and the limits of each.
        submissions: checks and packs jobs that are to be submitted.
        outbox: the jobs that the broker has not answered for.
    """

    def __init__(self, broker: str, timeout: float, security: Security | None) -> None:
        self.timeout = timeout
        self.io = ClientIO(broker, security)
        self.watch = Watch(self.io)
        self.io.results.ended = self.watch.done
        self.outbox = Outbox(self.io, timeout)
        self.callbacks = Callbacks()
        forgotten = weakref.finalize(self, _leave, self.io, self.outbox, self.callbacks)
        forgotten.atexit = False
        try:
            self.info = self.io.hello(timeout).as_map()
        except BaseException:
            self.io.close()
            raise
        self.submissions = Submissions(self.info)
        _open.add(self)

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a forked child: nothing is served here."""
        return self.io.forked

    def check_process(self) -> None:
        """Raise UsageError in a forked child."""
        self.io.check_process()

    def send(self, message: Request[Answer]) -> Future[Answer]:
        """Ask the broker; the future gets its answer, or a ZturboError."""
        return self.io.ask(message, timeout=self.timeout)

    def ask(self, message: Request[Answer]) -> Answer:
        """Ask the broker and wait for its answer. Jobs that were submitted before are there before.

        Raises:
            BrokerUnavailable: there was no answer in time.
            ZturboError: the broker answered with this error.
        """
        self.check_process()
        self.outbox.wait_for_answers()
        return self.send(message).result()

    def submit(self, submission: Submission) -> Acceptance:
        """Let a job be sent to the broker."""
        return self.outbox.put(submission)

    def submit_job(
        self, job: Job | Task, pipeline: str, options: dict[str, Any]
    ) -> tuple[bytes, str, Acceptance]:
        """Let a job, or its root task, be sent to the broker. Returns its id, its name, and the answer.

        Raises:
            UsageError: an argument is of a wrong type.
            EncodeError: the root's content cannot be carried.
            TooLarge: the root is over the pipeline's limit.
        """
        options = with_context(options)
        small = self.submissions.small(job, pipeline, options)
        if small is not None:
            job_id, acceptance = self.outbox.put_small(small)
            if isinstance(job, Job):
                job.id = job_id.hex()
            return job_id, small.name, acceptance
        submission = self.submissions.job(job, pipeline, options)
        return submission.job, submission.new.name, self.submit(submission)

    def flush(self, timeout: float | None) -> None:
        """Wait until the broker has answered for all jobs.

        Raises:
            BrokerUnavailable: it has not: there was no answer, or none in time.
        """
        if not self.outbox.flush(timeout):
            raise BrokerUnavailable(f"the broker has not answered for all jobs within {timeout:g} s")

    def close(self, *, patient: bool = True) -> None:
        """Disconnect, once the broker has answered for all jobs, and call the callbacks that wait.

        Without effect in a forked child.

        Args:
            patient: whether to wait, too, until it has room for all of them.

        Raises:
            BrokerUnavailable: it has not answered, or has no room; all else is closed all the same.
        """
        if not patient and not self.forked:
            self.outbox.wait_for_no_room()
        try:
            if not self.forked and not self.io.closed:
                self.flush(None)
        finally:
            self.io.close()
            self.callbacks.close()

    def leave(self, *, failing: bool) -> None:
        """Close it at the end of a block; ``failing``: by an exception, which goes on, and waits for no room.

        Raises:
            BrokerUnavailable: as :meth:`close`, unless the block has failed.
        """
        try:
            self.close(patient=not failing)
        except BrokerUnavailable as error:
            if not failing:
                raise
            log.error("jobs may not have been submitted: %s", error)


def _leave(io: ClientIO, outbox: Outbox, callbacks: Callbacks) -> None:
    """The program has dropped the connection. This may run in any thread, so it waits for none."""
    if not io.forked:
        outbox.when_empty(io.stop)
        callbacks.stop()


_open: weakref.WeakSet[Connection] = weakref.WeakSet()
"""Connections of this process; jobs of those that are left at the program's end are sent before it."""


@atexit.register
def _flush_all() -> None:
    for connection in list(_open):
        if not connection.forked and not connection.io.closed:
            try:
                connection.flush(connection.timeout)
            except BrokerUnavailable as error:
                log.error("jobs may not have been submitted: %s", error)
