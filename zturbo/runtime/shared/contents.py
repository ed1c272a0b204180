"""Large buffers of messages, by reference: between two processes of one host that share a pool.

The code's thread puts a buffer into a segment when the content is packed. The I/O thread sends a reference in
place of the frame to a peer that can read the pool, and the frame to all others. So a message that is sent
again, to another host perhaps, needs nothing else. A message with references has one more frame, before all
others. References are taken only from a socket that no other user's processes reach.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from typing import Any

import msgpack

from zturbo.errors import DecodeError
from zturbo.runtime.shared.extent import Extent, Reference, extent_under, part_of
from zturbo.runtime.shared.folder import SharedFolder, pool_path, sweep
from zturbo.runtime.shared.opened import Gone, OpenedSegments
from zturbo.runtime.shared.segments import Segments
from zturbo.wire.bounds import Bounds, unpack
from zturbo.wire.messages import MAX_FRAMES, Buffer, is_number

__all__ = ["SHARED_FROM", "SharedContents", "has_references"]

log = logging.getLogger("zturbo")

SHARED_FROM = 128 << 10
"""Bytes from which on a buffer is shared; a smaller one travels faster in the message."""

_MARK = b"zth1"
"""The first bytes of a frame with references. No header of a message begins with them."""

_BOUNDS = Bounds(nbytes=4 << 20, items=5 * MAX_FRAMES, depth=3, trusted=64 << 10)


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

    def put(self, view: memoryview) -> memoryview | None:
        """Let a buffer lie in shared memory. Returns a view of it there; None if it is to stay as it is."""
        if view.nbytes < SHARED_FROM or not self.wanted:
            return None
        found = extent_under(view) if view.readonly else None
        if found is not None:  # it has come by reference, and goes on by reference
            return part_of(*found, view.nbytes)
        return self.segments.write(view)

    def outgoing(self, peer: bytes, frames: list[Buffer]) -> list[Buffer]:
        """The frames of a message for this peer on this host: with references, if it can follow them."""
        references = []
        rest = []
        for index, frame in enumerate(frames):
            extent: Any = frame.obj if type(frame) is memoryview else None
            if isinstance(extent, Extent) and self._is_there(extent.reference):
                references.append((index, *extent.reference))
            else:
                rest.append(frame)
        if not references or not self.folder.can_read(peer):
            return frames
        return [_MARK + msgpack.packb((self.folder.incarnation, references)), *rest]

    def _is_there(self, reference: Reference) -> bool:
        """Whether a file is there still. At a logout, systemd may remove all shared memory of a user."""
        try:
            return stat.S_ISREG(os.lstat(self.folder.file(reference.number)).st_mode)
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

    def trim(self) -> None:
        """Give back what was not used for a while."""
        self.segments.trim()
        self._opened.trim()

    def close(self) -> None:
        """Remove this process's folder. Views stay valid."""
        self.folder.close()


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
