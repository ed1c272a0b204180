"""The C library's choices for a node's children."""

from __future__ import annotations

import pytest

from zturbo.runtime.process.tunables import KEPT, LARGEST, PAST_CACHES, drop_tunables, with_tunables

COPIES = f"glibc.cpu.x86_non_temporal_threshold={PAST_CACHES}"
MEMORY = f"glibc.malloc.mmap_threshold={LARGEST}:glibc.malloc.trim_threshold={KEPT}"


def test_the_children_copy_past_the_caches_and_keep_freed_memory() -> None:
    assert with_tunables({"HOME": "/"}) == {"HOME": "/", "GLIBC_TUNABLES": f"{COPIES}:{MEMORY}"}


def test_a_choice_of_the_user_is_left_alone() -> None:
    chosen = {"HOME": "/", "GLIBC_TUNABLES": "glibc.pthread.rseq=0"}
    begun = with_tunables(chosen)
    assert begun == chosen
    drop_tunables(begun)
    assert begun == chosen


def test_a_choice_of_memory_leaves_the_choice_of_copies() -> None:
    chosen = {"MALLOC_ARENA_MAX": "2"}
    assert with_tunables(chosen) == {**chosen, "GLIBC_TUNABLES": COPIES}


@pytest.mark.parametrize("found", [f"{COPIES}:{MEMORY}", COPIES, MEMORY, ""])
def test_programs_that_a_child_starts_have_the_users_environment(found: str) -> None:
    """A program with rights of its own finds a part of it: glibc takes out what is not safe."""
    begun = {"HOME": "/", "GLIBC_TUNABLES": found}
    drop_tunables(begun)
    assert begun == {"HOME": "/"}
