"""Whatever comes as a task's meta, a task is made of it, or one that fails alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.api.task import Task, TaskLog
from zturbo.runtime.code.restored import restore
from zturbo.wire.payload import Unreadable, pack_many, pack_meta, read_many

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 62) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(plain | st.lists(plain, min_size=2, max_size=2))
def test_any_meta_makes_a_task(packed: Any) -> None:
    (came,) = read_many(pack_many([packed]), 1)
    task = restore("content", came)
    assert isinstance(task, Task)
    if type(task.content) is Unreadable:
        assert packed is not None
    else:
        assert task.content == "content" and all(type(log) is TaskLog for log in task._logs or ())


@pytest.mark.parametrize(
    "packed", [5, "ab", [], [1], [{}, None, None], [{}, 5], [{}, [5]], [{}, [[1, 2, 3]]]]
)
def test_a_malformed_meta_fails_its_task(packed: Any) -> None:
    assert type(restore("content", packed).content) is Unreadable


def test_a_meta_arrives_with_its_logs() -> None:
    log = TaskLog("s", 1.0, 2.0, 3.0, True)
    (came,) = read_many(pack_many([pack_meta({"a": 1}, [log])]), 1)
    task = restore("content", came)
    assert (task.content, task._meta, task._logs) == ("content", {"a": 1}, [log])
