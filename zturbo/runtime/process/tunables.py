"""How the C library of a node's children copies large buffers, and keeps their memory.

glibc chooses both as it starts, from its own guess at the machine (its manual, "Tunables"). Its guess is made
for one buffer at a time. Of the frames of a video several go from process to process at once:

* glibc writes a copy past the caches only if the copy is larger than three quarters of them. The reader of a
  frame does not find it there: the next frames have been written since. The writer has meanwhile read the
  memory that it overwrites, and has lost its other data from the cache.
* glibc gives memory back to the kernel when twice the largest buffer is free at a heap's end. Then each page
  of the next buffers is made and cleared anew.

A user who has chosen otherwise, by ``GLIBC_TUNABLES`` or ``MALLOC_...``, keeps that choice.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping

__all__ = ["KEPT", "LARGEST", "PAST_CACHES", "drop_tunables", "with_tunables"]

PAST_CACHES = 2 << 20
"""Bytes of a copy that is written past the caches."""

LARGEST = 32 << 20
"""Bytes of a buffer from which on it is mapped by itself, and goes back to the kernel when it is freed. It is
the largest value that glibc takes."""

KEPT = 256 << 20
"""Bytes at the end of a heap that stay there when they are freed, at most. Some threads have a heap of their
own. :mod:`~zturbo.runtime.process.heap` gives them back when no large buffers come any more."""

_NAME = "GLIBC_TUNABLES"
_COPIES = (f"glibc.cpu.x86_non_temporal_threshold={PAST_CACHES}",)
_MEMORY = (f"glibc.malloc.mmap_threshold={LARGEST}", f"glibc.malloc.trim_threshold={KEPT}")


def with_tunables(env: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a program begins with this choice.

    Args:
        env: its environment otherwise. ``GLIBC_TUNABLES`` in it stays as it is. If there is a variable that
            begins with ``MALLOC_``, memory is kept as the user has chosen.
    """
    if _NAME in env:
        return dict(env)
    # With 32 bits glibc takes less than LARGEST, and would go on with a limit of 128 KiB.
    as_before = sys.maxsize < 1 << 32 or any(name.startswith("MALLOC_") for name in env)
    return {**env, _NAME: ":".join(_COPIES if as_before else _COPIES + _MEMORY)}


def drop_tunables(env: MutableMapping[str, str]) -> None:
    """In a program that has begun with this choice: programs that it starts begin without.

    Args:
        env: its environment.
    """
    if _NAME in env and {*env[_NAME].split(":")} <= {"", *_COPIES, *_MEMORY}:
        del env[_NAME]
