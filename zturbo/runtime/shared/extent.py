"""Shared memory as buffers: mapped files, and the extents in them.

An *extent* is the bytes of a segment that one buffer of a content fills. Python code sees it through views
(memoryviews, arrays). Each of them refers to the extent, in the end. So the extent knows when the last view
is gone. An object of ``mmap.mmap`` would not tell that, and would need a descriptor.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = [
    "Extent",
    "Reference",
    "extent_under",
    "fill",
    "map_file",
    "part_of",
    "rounded",
    "unmap",
    "view_of",
    "writable_view_of",
]


class Reference(NamedTuple):
    """Which bytes of which file in a process's folder."""

    number: int
    offset: int
    nbytes: int


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value

_POPULATE = getattr(mmap, "MAP_POPULATE", 0x8000)  # Python 3.10 has it in Linux alone, as this module does


def map_file(fd: int, nbytes: int, *, writable: bool) -> int:
    """Map a file, whole and at once. Returns the address. The mapping outlives the descriptor.

    Raises:
        OSError: the kernel refuses.
    """
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    address = _libc.mmap(None, nbytes, prot, mmap.MAP_SHARED | _POPULATE, fd, 0)
    if address == _FAILED or address is None:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(address)


def unmap(address: int, nbytes: int) -> None:
    """Undo :func:`map_file`. No view of the memory may be left."""
    _libc.munmap(address, nbytes)


def rounded(nbytes: int) -> int:
    """A size that holds so many bytes. There are few of them: eight between a power of two and the next."""
    step = max(mmap.PAGESIZE, 1 << max(0, nbytes.bit_length() - 4))
    return -(-nbytes // step) * step


class Extent:
    """Bytes in shared memory, as long as a view of them is left."""

    owner: bytes
    """The incarnation in whose folder they are."""
    reference: Reference
    """Where they are in it."""
    end: Callable[[], None] | None
    """Called when the last view is gone, in any thread."""
    above: Any
    """An object that has to live as long."""

    def __del__(self) -> None:
        if self.end is not None:
            self.end()


_AT_ONCE = 16 << 20
"""Bytes that are copied at once: other threads of this process go on between two copies."""

_types: dict[int, Any] = {}
"""Size -> a type of ctypes with that many bytes, whose objects are extents."""


def _make(
    address: int, owner: bytes, reference: Reference, end: Callable[[], None] | None, above: Any
) -> memoryview:
    size = rounded(reference.nbytes)
    kind: Any = _types.get(size)
    if kind is None:
        kind = _types[size] = type("SharedExtent", (Extent, ctypes.c_ubyte * size), {})
    extent = kind.from_address(address)
    extent.owner, extent.reference, extent.end, extent.above = owner, reference, end, above
    return memoryview(extent).cast("B")[: reference.nbytes]


def view_of(address: int, owner: bytes, reference: Reference, end: Callable[[], None]) -> memoryview:
    """A read-only view of an extent at an address, which is mapped as far as the reference goes."""
    return _make(address, owner, reference, end, None).toreadonly()


def writable_view_of(address: int, owner: bytes, reference: Reference, end: Callable[[], None]) -> memoryview:
    """As :func:`view_of`, of memory that is mapped for writing: a view to write to."""
    return _make(address, owner, reference, end, None)


def fill(view: memoryview, source: memoryview) -> None:
    """Copy a buffer into the whole of an extent that this process has mapped for writing."""
    extent: Any = view.obj
    target, given = memoryview(extent).cast("B"), source.cast("B")
    for start in range(0, given.nbytes, _AT_ONCE):
        stop = min(start + _AT_ONCE, given.nbytes)
        target[start:stop] = given[start:stop]


def extent_under(view: memoryview) -> tuple[Extent, int] | None:
    """The extent that a view lies in, and the offset; None if that is private memory."""
    source: Any = view.obj
    if isinstance(source, Extent):
        return (source, 0) if view.nbytes == source.reference.nbytes else None
    if getattr(source, "nbytes", None) != view.nbytes:
        return None
    address = getattr(source, "__array_interface__", None)
    while source is not None and type(source).__module__ == "numpy":
        source = source.base
    if type(source) is not memoryview or address is None or not isinstance(source.obj, Extent):
        return None
    extent: Any = source.obj
    offset = address["data"][0] - ctypes.addressof(extent)
    return (extent, offset) if 0 <= offset <= extent.reference.nbytes - view.nbytes else None


def part_of(extent: Extent, offset: int, nbytes: int) -> memoryview:
    """A read-only view of a part of an extent, as an extent of its own."""
    number, start, _ = extent.reference
    address = ctypes.addressof(extent)  # type: ignore[arg-type]
    reference = Reference(number, start + offset, nbytes)
    return _make(address + offset, extent.owner, reference, None, extent).toreadonly()
