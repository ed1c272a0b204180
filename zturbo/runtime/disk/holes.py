"""Space of a file that is given back, though the file goes on: holes, which Linux makes."""

from __future__ import annotations

import ctypes

__all__ = ["punch_hole"]

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate", None)
"""None where the C library has no such call."""
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_PUNCH = 0x02 | 0x01
"""``FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE``"""


def punch_hole(fd: int, offset: int, nbytes: int) -> None:
    """Give back the space of these bytes, which are zeros from then on. Nothing happens where that cannot
    be."""
    if _fallocate is not None and nbytes > 0:
        _fallocate(fd, _PUNCH, offset, nbytes)
