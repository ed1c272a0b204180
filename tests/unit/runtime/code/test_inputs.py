"""Inputs of failed tasks, cut out of the batches that they came in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zturbo.runtime.code.inputs import Inputs
from zturbo.runtime.code.output import FAILED_BYTES, Output
from zturbo.wire.messages import Batch, Path
from zturbo.wire.payload import pack_many, pack_one, unpack_one

JOB = b"j" * 16


def batch(runs: list[Any], contents: list[Any], metas: list[Any] | None = None) -> Batch:
    packed = None if metas is None else pack_many(metas)
    return Batch(JOB, 1, 0, runs, len(contents), pack_many(contents), packed)


def content(fields: dict[str, Any]) -> Any:
    frames = fields["input"]
    return unpack_one(frames[0], frames[1:])


def test_a_plain_stages_inputs_are_found_by_path() -> None:
    inputs = Inputs(ordered=False)
    metas = [None, [{"m": 1}, None], None, None, None]
    inputs.begin([(batch([((2,), 3), ((7, 0), 2)], ["a", "b", "c", "d", "e"], metas), 1, 5)])
    inputs.begin([(batch([((), 1)], [[1, 2]]), 0, 1)])
    assert content(inputs.fields((3,))) == "b" and inputs.fields((3,))["input_meta"] == [{"m": 1}, None]
    assert content(inputs.fields((7, 1))) == "e"
    assert content(inputs.fields((7, 1, 5))) == "e", "an output of it"
    assert content(inputs.fields((4, 1 << 60, 3))) == "c", "of an execution of it"
    assert content(inputs.fields((1,))) == [1, 2], "the root's"
    assert content(inputs.fields((1, 1))) == [1, 2]
    inputs.packed()
    assert content(inputs.fields(())) == [1, 2]
    inputs.clear()
    assert inputs.fields((3,)) == {}


def test_a_task_that_was_given_back_is_not_found() -> None:
    inputs = Inputs(ordered=False)
    inputs.begin([(batch([((2,), 3)], ["a", "b", "c"]), 1, 3)])
    assert inputs.fields((2,)) == {}


def test_an_ordered_stages_inputs_are_found_by_number() -> None:
    inputs = Inputs(ordered=True)
    first, second = batch([((9,), 2)], ["a", "b"]), batch([((1,), 3)], ["c", "d", "e"])
    inputs.begin([(first, 0, 2), (second, 2, 3)])
    for number in (4, 6, 7):  # a failure passed by as number 5
        inputs.number(number)
    assert content(inputs.fields((6,))) == "b" and content(inputs.fields((7, 3))) == "e"
    assert inputs.fields((5,)) == {} == inputs.fields((9,)) == inputs.fields(())
    assert inputs.here() == ([(first, 0, 2), (second, 2, 3)], 2)
    assert content(inputs.fields((99,), ([(second, 0, 3)], 1))) == "d"


def test_large_contents_and_garbage() -> None:
    inputs = Inputs(ordered=False)
    array = np.arange(50_000)
    blob, buffers = pack_one({"a": array})
    inputs.begin([(Batch(JOB, 1, 0, [((0,), 1)], 1, blob, None, buffers), 0, 1)])
    assert np.array_equal(content(inputs.fields((0,)))["a"], array)
    inputs.begin([(Batch(JOB, 1, 0, [((1,), 2)], 2, b"\xc1\xc1", None), 0, 2)])
    assert inputs.fields((2,)) == {"input": "its input cannot be read"}


@pytest.mark.parametrize("size, batches", [(10, 1), (FAILED_BYTES // 4, 4)])
def test_failures_with_large_inputs_do_not_travel_all_at_once(size: int, batches: int) -> None:
    taken: list[list[Path]] = []

    def flush() -> None:
        taken.append([fail.path for fail in out.fails])
        out.clear()

    out = Output(flush, lambda: None)
    for i in range(16):
        out.fail((i,), 0, bytes(size))
    flush()
    assert [path for part in taken for path in part] == [(i,) for i in range(16)]
    assert len([part for part in taken if part]) >= batches
