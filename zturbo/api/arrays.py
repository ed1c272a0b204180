"""Arrays that lie where the contents of tasks go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

from zturbo.wire.extensions import Encoder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["empty"]


def empty(
    shape: SupportsIndex | Sequence[SupportsIndex], dtype: npt.DTypeLike = float
) -> np.ndarray[Any, Any]:
    """A new array without values, for the output of a stage or the content of a job: as ``numpy.empty``.

    In a stage, and in a client on the broker's host, a large array lies in shared memory from the start. A
    ``Task(array, owned=True)`` then needs no copy, neither here nor at the next process on this host. Without
    ``owned=True`` a copy is sent, since the code may change the array. An array that is never sent costs
    nothing more than any other.

    Args:
        shape: lengths of the axes, in elements; an int for one axis.
        dtype: type of an element, as numpy takes it.

    Returns:
        A writable array in C order. Its elements are arbitrary, or objects that are None.

    Raises:
        ImportError: numpy is not installed.
        TypeError, ValueError: shape or dtype are none.
    """
    import numpy

    kind = numpy.dtype(dtype)
    keeper = Encoder.keeper
    if keeper is None or kind.hasobject or kind.itemsize == 0:
        return numpy.empty(shape, kind)
    try:
        axes = tuple(map(index, shape if isinstance(shape, tuple | list) else (shape,)))
    except TypeError:
        axes = (-1,)
    if min(axes, default=0) < 0:
        return numpy.empty(shape, kind)  # which says what is wrong with it
    view = keeper.room(math.prod(axes) * kind.itemsize)
    return numpy.empty(shape, kind) if view is None else numpy.frombuffer(view, kind).reshape(axes)
