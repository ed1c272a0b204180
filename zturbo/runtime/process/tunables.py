"""How the C library of a node's children copies large buffers, and keeps their memory.

glibc chooses both as it starts, from its own guess at the machine (its manual, "Tunables"). It is wrong for
frames that go from process to process:

* It writes a copy past the caches only if the copy is larger than three quarters of them. Of frames of some
  megabytes several are on their way at once, so the reader of one does not find it in a cache. The writer has
  meanwhile read the memory that it overwrites, and has lost its other data from the cache.
* It gives the memory of a large buffer back to the kernel as soon as it is freed. Each page of the next
  buffer is made and cleared anew.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

__all__ = ["KEPT", "LARGEST", "PAST_CACHES", "drop_tunables", "with_tunables"]

PAST_CACHES = 2 << 20
"""Bytes of a copy that is written past the caches."""

LARGEST = 32 << 20
"""Bytes of a buffer that goes back to the kernel at once, however soon the next is needed."""

KEPT = 64 << 20
"""Bytes at the end of a heap that stay there when they are freed, at most. A thread has a heap of its own."""

_NAME = "GLIBC_TUNABLES"

_CHOICE = (
    f"glibc.cpu.x86_non_temporal_threshold={PAST_CACHES}"
    f":glibc.malloc.mmap_threshold={LARGEST}"
    f":glibc.malloc.trim_threshold={KEPT}"
)


def with_tunables(env: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a program begins with this choice.

    Args:
        env: its environment otherwise. A user's own choice is left alone: ``GLIBC_TUNABLES``, or any
            variable that begins with ``MALLOC_``.
    """
    if _NAME in env or any(name.startswith("MALLOC_") for name in env):
        return dict(env)
    return {**env, _NAME: _CHOICE}


def drop_tunables(env: MutableMapping[str, str]) -> None:
    """In a program that has begun with this choice: programs that it starts begin without.

    Args:
        env: its environment.
    """
    if env.get(_NAME) == _CHOICE:
        del env[_NAME]
