"""The C library's choices for a node's children."""

from __future__ import annotations

import pytest

from zturbo.runtime.process.tunables import LARGEST, PAST_CACHES, drop_tunables, with_tunables


def test_the_children_copy_past_the_caches_and_keep_freed_memory() -> None:
    env = with_tunables({"HOME": "/"})
    assert env.pop("HOME") == "/"
    chosen = dict(one.split("=") for one in env.pop("GLIBC_TUNABLES").split(":"))
    assert not env
    assert chosen["glibc.cpu.x86_non_temporal_threshold"] == str(PAST_CACHES)
    assert chosen["glibc.malloc.mmap_threshold"] == str(LARGEST)


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX"])
def test_a_choice_of_the_user_is_left_alone(name: str) -> None:
    env = {"HOME": "/", name: "2"}
    begun = with_tunables(env)
    assert begun == env
    drop_tunables(begun)
    assert begun == env


def test_programs_that_a_child_starts_have_the_users_environment() -> None:
    begun = with_tunables({"HOME": "/"})
    drop_tunables(begun)
    assert begun == {"HOME": "/"}
