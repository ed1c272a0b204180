"""The broker's control socket: each message is measured, read, and handled behind a guard.

The socket is a ROUTER. Nodes, workers, sinks and clients are DEALERs to it.
"""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable
from pathlib import Path

import zmq

from zturbo.errors import AccessDenied, DecodeError
from zturbo.errortext import error_text
from zturbo.runtime.net.audit import Audit
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.gate import CONTROL
from zturbo.runtime.net.guard import Guard
from zturbo.runtime.net.host import host_name
from zturbo.runtime.net.keys import Security
from zturbo.runtime.net.peers import user_of
from zturbo.runtime.net.routes import LENGTH, Routes
from zturbo.runtime.net.sockets import has_more, make, send_frames
from zturbo.runtime.process.heap import Heap
from zturbo.runtime.shared.contents import SharedContents, at_address, has_references
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import MAX_CONTROL, pack_control, read_request, ref_of
from zturbo.wire.control.message import Message
from zturbo.wire.messages import MAX_FRAMES, Buffer
from zturbo_broker.members.rights import User

__all__ = ["Router"]

log = logging.getLogger("zturbo.broker")

ROUND = 256
"""Control messages read in one round at most."""

REVOKED = "its key was revoked"

ROUND_BYTES = 64 << 20
"""Bytes of control messages after which a round reads no more, so that the inbox gets its turn."""


class Router:
    """The socket, and the reading of its messages.

    Args:
        context: zmq context.
        bind: control address, such as ``tcp://127.0.0.1:5555``.
        handle: called with the sender's identity, the message, the time, and whose key it came under.
        guard: counts and logs what ``handle`` raises.
        arrivals: watches the socket's connections for messages without an end.
        longest: bytes that the contents of one message may have.
        security: the broker's keys, if there are keys.
        users: public key -> whose it is, of those who are let in now.
        takes: whether a message has an effect, given whose key it came under, the identity that it came from,
            and the message; raises AccessDenied if that key may not send it.
        audit: told of messages that are refused for their key.

    Attributes:
        shared: what this process has in shared memory, to which clients refer; None if there is none.

    Raises:
        StartError: the address is in use.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        bind: str,
        handle: Callable[[bytes, Message, float, User | None], None],
        guard: Guard,
        arrivals: Arrivals,
        longest: int,
        security: Security | None = None,
        users: Callable[[str], User | None] = lambda key: None,
        takes: Callable[[User, bytes, Message], bool] = lambda user, who, message: True,
        audit: Audit | None = None,
    ) -> None:
        self.socket = make(
            context,
            zmq.ROUTER,
            bind=bind,
            security=security,
            domain=CONTROL,
            arrivals=arrivals,
            longest=longest + MAX_CONTROL,
        )
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._packed: tuple[Message | None, list[Buffer]] = (None, [])
        """The last message, and its frames."""
        self.bad = 0
        """Messages that were dropped: they could not be read, or spoke in another's name."""
        self.shared = SharedContents.make(at_address(host_name(), self.address))
        self._file = Path(bind[6:]) if bind.startswith("ipc://") and bind[6] != "@" else None
        self._handle = handle
        self.routes = Routes() if security is not None and bind.startswith("tcp:") else None
        self._users = users
        self._takes = takes
        self._audit = audit
        self._guard = guard
        self._arrivals = arrivals
        self._heap = Heap()

    def trim(self) -> None:
        """Give memory back that was not used for a while."""
        self._heap.look()
        if self.shared is not None:
            self.shared.trim()

    def read(self) -> None:
        """Handle the messages that have come, up to a round's share."""
        nbytes = 0
        for _ in range(ROUND):
            try:
                who, *frames = self._arrivals.receive(self.socket)
            except zmq.Again:
                return
            nbytes += self._take(who.bytes, frames)
            if nbytes > ROUND_BYTES or not has_more(self.socket):
                return

    def _take(self, who: bytes, frames: list[zmq.Frame]) -> int:
        """Read and handle one message. Returns its size."""
        what = "a control message"
        user: User | None = None
        try:
            if len(frames) > MAX_FRAMES:
                raise DecodeError(f"a message of more than {MAX_FRAMES} frames")
            if self.routes is not None:
                user = self._user(frames)
            if len(frames) > 2:
                self._heap.used()
            parts: list[Buffer] = [frame.buffer for frame in frames]
            if has_references(parts):
                parts = self._resolved(parts)
            message = read_request(parts)
            what = message.type_name
            identity = who if user is None else self._identity(who, user, message)
            if identity is not None:
                self._handle(identity, self._taken_in(message), time.monotonic(), user)
        except AccessDenied as error:
            self.bad += 1
            if self._audit is not None:
                whose = "a key that was revoked" if user is None else f"the key of {user}: {error}"
                self._audit.note(f"a message under {whose}", "")
            self._refuse(who, frames, "AccessDenied", str(error))
            if user is None:  # a member under a key that was revoked, which has not noticed yet
                self._send(who, from_broker.Refused(reason=REVOKED, final=True))
        except DecodeError as error:
            self.bad += 1
            log.debug("dropped a message: %s", error)
            self._refuse(who, frames, "UsageError", str(error))
        except Exception as error:  # the handler has failed for this message alone
            self._guard.failed(what, error)
            text = f"the broker could not do this: {error_text(error, 300)}; its log says more"
            self._refuse(who, frames, "JobError", text)
        return sum(map(len, frames))

    def _user(self, frames: list[zmq.Frame]) -> User:
        """Whose key a message came under.

        Raises:
            AccessDenied: that key was revoked.
        """
        user = self._users(user_of(frames[-1])) if frames else None
        if user is None:
            raise AccessDenied(REVOKED)
        return user

    def _identity(self, who: bytes, user: User, message: Message) -> bytes | None:
        """The identity of a connection; None if its message is to have no effect.

        Raises:
            AccessDenied: its key may not send the message, or the identity belongs to another key.
        """
        assert self.routes is not None
        if not self._takes(user, who[:LENGTH], message):
            return None
        identity = self.routes.came(
            who, user.key
        )  # after that: a refused message makes no identity one's own
        if identity is None:
            raise AccessDenied("the message comes under an identity that belongs to another key")
        return identity

    def _resolved(self, frames: list[Buffer]) -> list[Buffer]:
        """The frames of a client's message, with those that it has by reference.

        Raises:
            DecodeError: they are not there. The client says it once more, without references.
        """
        if self.shared is None:
            raise DecodeError("references from a process that this one shares no memory with")
        return self.shared.incoming(frames)

    def _taken_in(self, message: Message) -> Message:
        """The same message; large buffers of a client on another host lie in shared memory then, too."""
        if self.shared is None or not isinstance(message, (to_broker.Feed, to_broker.Submit)):
            return message
        contents = message.contents
        jobs = () if isinstance(message, to_broker.Feed) else message.jobs
        roots = [job.parts for job in jobs] or [len(contents)]
        if len(contents) < 2 or sum(roots) != len(contents):
            return message
        taken: list[Buffer] = []
        for size in roots:
            parts = contents[len(taken) : len(taken) + size]
            taken += [*parts[:1], *self.shared.take_in(parts[1:])]
        if all(map(operator.is_, taken, contents)):  # as a rule, since they are small or there already
            return message
        return message.but(contents=tuple(taken))

    def _refuse(self, who: bytes, frames: list[zmq.Frame], kind: str, text: str) -> None:
        """Answer a request that has a ref, so that its client need not wait."""
        ref = ref_of([frame.buffer for frame in frames[:1]])
        if ref is not None:
            self._send(who, from_broker.Error(ref=ref, kind=kind, message=text))

    def say(self, who: bytes, message: Message) -> None:
        """Send a message. If its recipient is not connected, it is lost, and the recipient asks again."""
        self._send(who if self.routes is None else self.routes.to(who), message)

    def _send(self, who: bytes, message: Message) -> None:
        if message is not self._packed[0]:  # the same message may go to all members: it is packed once
            self._packed = (message, pack_control(message))
        try:
            send_frames(self.socket, [who, *self._packed[1]])
        except zmq.ZMQError as error:  # unreachable or full
            log.debug("%s was not sent: %s", message.type_name, error)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        if self.shared is not None:
            self.shared.close()
        if self._file is not None:  # ZeroMQ leaves the socket's file behind
            self._file.unlink(missing_ok=True)
