"""The connection that a client, its handles and its readers share: an I/O thread, a watch, callbacks."""

from __future__ import annotations

import weakref
from concurrent.futures import Future

from zturbo.client.io import ClientIO
from zturbo.client.submissions import Submissions
from zturbo.client.watch import Callbacks, Watch
from zturbo.runtime.net.sockets import Security
from zturbo.wire.control.message import Answer, Request

__all__ = ["Connection"]


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
        submissions: makes the messages that submit jobs.
    """

    def __init__(self, broker: str, timeout: float, security: Security | None) -> None:
        self.timeout = timeout
        self.io = ClientIO(broker, security)
        self.watch = Watch(self.io)
        self.callbacks = Callbacks()
        forgotten = weakref.finalize(self, _leave, self.io, self.callbacks)
        forgotten.atexit = False
        try:
            self.info = self.io.hello(timeout).as_map()
        except BaseException:
            self.io.close()
            raise
        self.submissions = Submissions(self.io.identity, self.info)

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
        """Ask the broker and wait for its answer.

        Raises:
            BrokerUnavailable: there was no answer in time.
            ZturboError: the broker answered with this error.
        """
        return self.send(message).result()

    def close(self) -> None:
        """Disconnect, and call the callbacks that wait. Without effect in a forked child."""
        self.io.close()
        self.callbacks.close()


def _leave(io: ClientIO, callbacks: Callbacks) -> None:
    """The program has dropped the connection. This may run in any thread, so it waits for none."""
    if not io.forked:
        io.stop()
        callbacks.stop()
