"""Which processes a person means, and what is told of them."""

from __future__ import annotations

import pytest

from zturbo.client.looks import pick_processes, stack_map
from zturbo.errors import UsageError
from zturbo.telemetry.seen import Task, Where
from zturbo.wire.control.answers import Process


def process(name: str, pid: int, host: str = "h") -> Process:
    return Process(
        name=name,
        host=host,
        addresses=(),
        results=(),
        incarnation=bytes([pid]) * 16,
        pid=pid,
        version="",
        python="",
        code="",
        heard=0.0,
        cpu=0,
        memory=0,
    )


ALL = [
    process("broker", 1),
    process("sink", 2),
    process("video.detect", 3),
    process("video.detect", 3, "other"),
    process("p.track", 19),
]


@pytest.mark.parametrize(
    ("what", "picked"),
    [
        (None, ALL[2:]),
        ("video.detect", ALL[2:4]),
        ("detect", ALL[2:4]),
        ("3", ALL[2:4]),
        ("other:3", ALL[3:4]),
        ("1313", ALL[4:]),
        ("sink", ALL[1:2]),
    ],
)
def test_a_process_has_many_names(what: str | None, picked: list[Process]) -> None:
    assert pick_processes(ALL, what) == picked


def test_a_name_that_nothing_has_is_an_error_with_a_hint() -> None:
    with pytest.raises(UsageError, match=r"detect.*zturbo hosts"):
        pick_processes(ALL, "detekt")
    with pytest.raises(UsageError, match="no worker runs"):
        pick_processes(ALL[:1], "detect")


def test_a_stack_is_told_with_its_tasks() -> None:
    text = (
        "Current thread 0x1 (most recent call first):\n"
        '  File "/me/d.py", line 4 in process\n'
        '  File "/x/zturbo/runtime/code/output.py", line 8 in call\n'
    )
    told = stack_map(ALL[2], Where((Task(b"\x01" * 16, 2, (5,), 0, 1.25),), text, ""))
    (task,) = told["tasks"]
    assert task == {"job": "01" * 16, "epoch": 2, "path": [5], "given": 0, "seconds": 1.25, "frames": []}
    assert told["frames"] == [{"file": "/me/d.py", "line": 4, "function": "process"}]
    assert len(told["threads"][0]["frames"]) == 2 and told["note"] == ""
    assert stack_map(ALL[2], UsageError("it has ended"))["note"] == "it has ended"


def test_a_stage_without_workers_is_named_as_such() -> None:
    stages = ["p.detect", "p.idle"]
    for name in ("idle", "p.idle"):
        with pytest.raises(UsageError, match=r"p\.idle has no worker now"):
            pick_processes(ALL, name, lambda: stages)
    with pytest.raises(UsageError, match=r"p\.idle has no worker now"):
        pick_processes(ALL[:1], "idle", lambda: stages)
    with pytest.raises(UsageError, match=r"p\.idle"):
        pick_processes(ALL, "idel", lambda: stages)
