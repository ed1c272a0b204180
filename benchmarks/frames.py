"""Frames of a video, each with its number in its first and last bytes, and the check that one is whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["BYTES", "SHAPE", "Frame", "Wrong", "check", "make", "number", "some", "stamp"]

Frame = NDArray[np.uint8]

SHAPE = (1080, 1920, 3)
BYTES = 1080 * 1920 * 3
MARK = 8
"""Bytes of the number at each end of a frame."""
REUSED = 32
"""Frames that a source makes: more than there are in flight, so that none changes while it is being sent."""

BASE: Frame = np.random.default_rng(1).integers(0, 256, SHAPE, dtype=np.uint8)


class Wrong(Exception):
    """A result is wrong, missing or out of order, so that its measurement gives no figure."""


def _bytes(value: int) -> Frame:
    return np.frombuffer(value.to_bytes(MARK, "little"), np.uint8)


def make(value: int, frame: Frame | None = None) -> Frame:
    """A frame with this number at its beginning, a new one or this; :func:`stamp` puts it at the end."""
    if frame is None:
        frame = BASE.copy()
    else:
        np.copyto(frame, BASE)
    frame.reshape(-1)[:MARK] = _bytes(value)
    return frame


def number(frame: Frame) -> int:
    """The number at its beginning."""
    return int.from_bytes(frame.reshape(-1)[:MARK].tobytes(), "little")


def stamp(frame: Frame, out: Frame | None = None) -> Frame:
    """A copy that has its number at the end too, a new one or this."""
    if out is None:
        out = frame.copy()
    else:
        np.copyto(out, frame)
    flat = out.reshape(-1)
    flat[-MARK:] = flat[:MARK]
    return out


def some(count: int) -> Iterator[Frame]:
    """Frames that are stamped at both ends. They are used again and again, as a camera's buffers are."""
    buffers = [BASE.copy() for _ in range(min(count, REUSED))]
    for i in range(count):
        frame = buffers[i % REUSED]
        flat = frame.reshape(-1)
        flat[:MARK] = flat[-MARK:] = _bytes(i)
        yield frame


def check(value: int, frame: Frame, whole: bool) -> None:
    """Check that this is the frame with this number.

    Args:
        value: its number.
        frame: what came.
        whole: look at all of its bytes, not at both ends and one line alone.

    Raises:
        Wrong: it is not.
    """
    if not isinstance(frame, np.ndarray) or frame.shape != SHAPE or frame.dtype != np.uint8:
        raise Wrong(f"result {value} is no frame but {type(frame).__name__}")
    flat, base = frame.reshape(-1), BASE.reshape(-1)
    ends = (flat[:MARK].tobytes(), flat[-MARK:].tobytes())
    if ends != (_bytes(value).tobytes(),) * 2:
        raise Wrong(f"frame {value} has the numbers {[int.from_bytes(end, 'little') for end in ends]}")
    part = slice(MARK, -MARK) if whole else slice(BYTES // 2, BYTES // 2 + SHAPE[1])
    if not (flat[part] == base[part]).all():
        raise Wrong(f"frame {value} is damaged")
