"""Large buffers of messages, by reference: between two processes of one host that share a pool.

The code's thread puts a buffer into a segment when the content is packed. The I/O thread sends a reference in
place of the frame to a peer that can read the pool, and the frame to all others. So a message that is sent
again, to another host perhaps, needs nothing else. A message with references has one more frame, before all
others. References are taken only from a socket that no other user's processes reach.
"""

from __future__ import annotations

import atexit
import logging
import os
import stat
import time
import weakref
from collections.abc import Sequence
from typing import Any

import msgpack

from zturbo.errors import DecodeError
from zturbo.runtime.shared.extent import Extent, Reference, extent_under, part_of
from zturbo.runtime.shared.folder import SharedFolder, pool_path, sweep
from zturbo.runtime.shared.lent import Lent, ReaderId
from zturbo.runtime.shared.opened import Gone, OpenedSegments
from zturbo.runtime.shared.segments import Segments
from zturbo.wire.bounds import Bounds, unpack
from zturbo.wire.codes import OUT_OF_BAND
from zturbo.wire.messages import MAX_FRAMES, Buffer, is_number

__all__ = ["SHARED_FROM", "SharedContents", "at_address", "has_references"]

log = logging.getLogger("zturbo")

SHARED_FROM = OUT_OF_BAND
"""Bytes from which on a buffer is shared; a smaller one travels faster in the message."""

_MARK = b"zth1"
"""The first bytes of a frame with references. No header of a message begins with them."""

_BOUNDS = Bounds(nbytes=4 << 20, items=5 * MAX_FRAMES, depth=3, trusted=64 << 10)


def at_address(host: str, address: str) -> bytes:
    """The incarnation by which a broker's folder is found: clients know its address alone."""
    import hashlib  # imported here: workers start often, and do not need it

    return hashlib.blake2b(f"{host} {address}".encode(), digest_size=16).digest()


def has_references(frames: Sequence[Buffer]) -> bool:
    """Whether the first frame of a message has references."""
    return len(frames) > 2 and bytes(frames[0][: len(_MARK)]) == _MARK


class SharedContents:
    """What a process has in shared memory.

    Args:
        folder: of this process.
    """

    def __init__(self, folder: SharedFolder) -> None:
        self.folder = folder
        self.segments = Segments(folder)
        self._opened = OpenedSegments(folder)
        self._lent = Lent()
        self._pid = os.getpid()
        _here.add(self)
        self.wanted = False
        """Whether there is a peer on this host that may get contents."""
        self.lost = 0
        """Messages whose segments were gone."""

    @classmethod
    def make(cls, incarnation: bytes) -> SharedContents | None:
        """That of this process; None if this host has no shared memory for it."""
        pool = pool_path()
        if pool is None or not os.path.isdir(pool.parent):
            return None
        sweep()
        try:
            return cls(SharedFolder(incarnation, pool))
        except OSError as error:
            log.warning("large contents are sent in messages, not in shared memory: %s", error)
            return None

    def put(self, view: memoryview, final: bool = False) -> memoryview | None:
        """Let a buffer lie in shared memory. Returns a view of it there; None if it is to stay as it is.

        A forked process puts nothing there: its parent writes to the same segments.

        Args:
            view: the buffer.
            final: whether no code changes it any more.
        """
        if not self._takes(view.nbytes):
            return None
        found = extent_under(view) if final or view.readonly else None
        if found is not None and found[0].owner == self.folder.incarnation:
            # It has come by reference, and goes on by reference; or it was made there.
            return part_of(*found, view.nbytes)
        return self.segments.write(view)

    def take_in(self, buffers: Sequence[Buffer]) -> list[Buffer]:
        """Let large buffers lie in shared memory that have come in messages, if there is room.

        It is for out-of-band buffers alone, and for those that no code changes any more. Whether a peer here
        may get them does not matter: what lies there need not be written to a file.

        Returns:
            Them, each as a view of shared memory or as it was.
        """
        return [self._taken_in(buffer) for buffer in buffers]

    def _taken_in(self, buffer: Buffer) -> Buffer:
        view = memoryview(buffer)
        if isinstance(view.obj, Extent) or not self._may_take(view.nbytes):
            return buffer
        return self.segments.write(view) or buffer

    def room(self, nbytes: int) -> memoryview | None:
        """So many bytes of shared memory to write to; None if a buffer of that size does not go there."""
        return self.segments.room(nbytes) if self._takes(nbytes) else None

    def _takes(self, nbytes: int) -> bool:
        return self.wanted and self._may_take(nbytes)

    def _may_take(self, nbytes: int) -> bool:
        return nbytes >= SHARED_FROM and os.getpid() == self._pid

    def outgoing(self, peer: bytes, frames: list[Buffer]) -> list[Buffer]:
        """The frames of a message for this peer on this host: with references, if it can follow them."""
        references = []
        rest = []
        for index, frame in enumerate(frames):
            extent: Any = frame.obj if type(frame) is memoryview else None
            if isinstance(extent, Extent) and self._has(extent):
                references.append((index, *extent.reference))
            else:
                rest.append(frame)
        if not references or not self.folder.can_read(peer):
            return frames
        return [_MARK + msgpack.packb((self.folder.incarnation, references)), *rest]

    def lend(self, reader: ReaderId, first: int, frames: list[Buffer]) -> list[Buffer]:
        """As :meth:`outgoing`, for results that a reader may get, from the result ``first`` on."""
        if self._lent.full:
            return frames
        out = self.outgoing(reader[0], frames)
        if out is not frames:
            self._lent.lend(reader, first, frames, time.monotonic())
        return out

    @property
    def lent(self) -> int:
        """Bytes of results that clients were given and have not opened yet, as far as is known."""
        return self._lent.nbytes

    def got(self, reader: ReaderId, first: int) -> None:
        """A reader has opened all that it was lent before the result ``first``."""
        self._lent.got(reader, first)

    def _has(self, extent: Extent) -> bool:
        """Whether an extent is in this folder, and its file is there still.

        A process may have several folders, one for each of its clients. At a logout, systemd may remove all
        shared memory of a user.
        """
        try:
            file = os.lstat(self.folder.file(extent.reference.number))
            return extent.owner == self.folder.incarnation and stat.S_ISREG(file.st_mode)
        except OSError:
            return False

    def incoming(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """The frames of a message whose first one has references.

        Raises:
            DecodeError: they lead nowhere; the message counts as lost.
        """
        owner, references = _read(frames[0])
        out = list(frames[1:])
        try:
            for index, reference in references:
                if index > len(out):
                    raise DecodeError("references are malformed")
                out.insert(index, self._opened.open(owner, reference))
        except Gone:
            self.lost += 1
            raise
        except OSError as error:  # the sender, who finds this out, sends frames next time
            self.lost += 1
            self.folder.stop_reading()
            log.warning("contents in shared memory cannot be read, and come in messages now: %s", error)
            raise DecodeError("contents in shared memory cannot be read") from None
        return out

    def forking(self) -> None:
        """Another process of this code begins, with all views that are here."""
        self._opened.pin()

    def trim(self) -> bool:
        """Give back what was not used for a while. Returns whether there is more that may be given back."""
        self._lent.trim(time.monotonic())
        return self.segments.trim() | self._opened.trim()

    def close(self) -> None:
        """Remove this process's folder. Views stay valid. Without effect in a forked child."""
        if self._pid == os.getpid() and self in _here:
            _here.discard(self)
            self.folder.close()


_here: weakref.WeakSet[SharedContents] = weakref.WeakSet()
"""All of this process. A program may have several clients."""


def _before_fork() -> None:
    for shared in list(_here):
        shared.forking()


os.register_at_fork(before=_before_fork)


@atexit.register
def _at_end() -> None:
    for shared in list(_here):
        shared.close()


def _read(frame: Buffer) -> tuple[bytes, list[tuple[int, Reference]]]:
    value = unpack(bytes(frame[len(_MARK) :]), _BOUNDS)
    if type(value) is not tuple or len(value) != 2 or type(value[1]) is not tuple:
        raise DecodeError("references are malformed")
    owner, references = value
    if type(owner) is not bytes or len(owner) != 16:
        raise DecodeError("references are malformed")
    out = []
    for one in references:
        if type(one) is not tuple or len(one) != 4 or not all(map(is_number, one)):
            raise DecodeError("references are malformed")
        index, *reference = one
        if not 2 <= index < MAX_FRAMES or not reference[2]:
            raise DecodeError("references are malformed")
        out.append((index, Reference(*reference)))
    return owner, out
