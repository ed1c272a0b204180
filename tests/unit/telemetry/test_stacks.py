"""Stacks as faulthandler writes them, and as a broken process may have written them."""

from __future__ import annotations

import faulthandler
import json
import tempfile
import xml.etree.ElementTree as ET
import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.telemetry.flames import flame_graph
from zturbo.telemetry.ring import SIZE
from zturbo.telemetry.seen import (
    Profile,
    Task,
    Traced,
    Traces,
    Unreadable,
    Where,
    pack,
    read_profile,
    read_stack,
    read_traces,
)
from zturbo.telemetry.stacks import (
    END,
    Frame,
    collapsed,
    coroutine_line,
    coroutines,
    is_whole,
    main_stack,
    of_code,
    parse,
    speedscope,
)

TEXT = """\
Thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait

Current thread 0x00007f0000000002 (most recent call first):
  File "/home/me/zturbo/detect.py", line 41 in heavy
  File "/home/me/zturbo/detect.py", line 60 in process
  File "/venv/lib/python3.11/site-packages/zturbo/runtime/code/output.py", line 88 in call
  File "<frozen runpy>", line 88 in _run_code
  File "/venv/lib/python3.11/site-packages/zturbo/runtime/process/boot.py", line 75 in <module>
"""
HOSTILE = Frame('<script>&"', 1, "\x1b]0;x\x07<b>;")


def test_the_main_thread_is_the_last_and_the_code_is_what_zturbo_calls() -> None:
    other, main = parse(TEXT)
    assert other.frames == (Frame("/usr/lib/python3.11/threading.py", 320, "wait"),)
    assert main_stack([other, main]) is main
    assert [(frame.line, frame.function) for frame in of_code(main.frames)] == [
        (41, "heavy"),
        (60, "process"),
    ]
    assert of_code(main.frames[2:]) == ()
    assert str(main.frames[0]) == "/home/me/zturbo/detect.py:41 in heavy"


PACKAGES = "/venv/lib/python3.11/site-packages"
BOOT = f"{PACKAGES}/zturbo/runtime/process/boot.py"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([f"{PACKAGES}/zmq/sugar/poll.py", f"{PACKAGES}/zturbo/runtime/members/member.py", BOOT], 0),
        (["<string>", f"{PACKAGES}/zturbo/core/worker/feed.py", BOOT], 0),
        (["/usr/lib/python3.11/selectors.py", "/usr/lib/python3.11/asyncio/base_events.py", BOOT], 0),
        ([f"{PACKAGES}/zturbo/runtime/code/laps.py", BOOT], 0),
        (["/usr/lib/python3.11/json/__init__.py", f"{PACKAGES}/zturbo/runtime/code/plain.py", BOOT], 1),
        (
            [
                "<string>",
                "/usr/lib/python3.11/asyncio/events.py",
                f"{PACKAGES}/zturbo/runtime/code/x.py",
                BOOT,
            ],
            1,
        ),
        (["/home/me/detect.py", f"{PACKAGES}/zturbo/runtime/code/importing.py", BOOT], 1),
        (
            ["/home/me/detect.py", f"{PACKAGES}/zturbo/runtime/code/onetask.py", "/home/me/.venv/bin/zturbo"],
            1,
        ),
        ([f"{PACKAGES}/zmq/sugar/poll.py", f"{PACKAGES}/zturbo/runtime/members/member.py", "/bin/zturbo"], 0),
        (["/home/me/zturbo/detect.py"] * 100, 100),
        ([f"{PACKAGES}/zturbo/api/task.py", *["/home/me/deep.py"] * 99], 100),
    ],
)
def test_a_library_that_zturbo_itself_calls_is_not_the_stages_code(files: list[str], code: int) -> None:
    whole = len(files) < 100
    frames = [Frame(file, 1, "f") for file in files[:-1]] + [
        Frame(files[-1], 1, "<module>" if whole else "f")
    ]
    assert of_code(frames) == tuple(frames[:code])


def test_a_text_is_whole_when_its_last_line_is_the_outermost_call() -> None:
    assert is_whole(TEXT)
    assert is_whole(TEXT.rpartition("  File")[0] + "  ...\n"), "faulthandler writes 100 calls at most"
    for length in range(len(TEXT)):
        assert not is_whole(TEXT[:length])


def test_what_faulthandler_writes_here_can_be_read() -> None:
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        (*_, main) = parse(file.read())
    assert main.frames[0].function == test_what_faulthandler_writes_here_can_be_read.__name__


def test_the_main_thread_comes_first_and_the_others_follow() -> None:
    main = (
        'Stack (most recent call first):\n  File "/a", line 3 in f\n  File "/boot.py", line 9 in <module>\n'
    )
    others = 'Thread 0x02 (most recent call first):\n  File "/a/t.py", line ??? in g\n\n'
    text = f"{main}{others}{END}\n"
    assert is_whole(main) and not is_whole(main, more=True) and is_whole(text, more=True)
    assert [(stack.thread, len(stack.frames)) for stack in parse(text)] == [("0x02", 1), ("", 2)]
    late = parse(f"{others}{END}\n{main}")
    assert main_stack(late) == main_stack(parse(text)), "others of an earlier question may come late"


@given(st.text(alphabet='File "line123 in <module>\n\t Thread0x.', max_size=300))
def test_any_text_gives_some_stacks(text: str) -> None:
    for stack in parse(f"Thread 0x1 (most recent call first):\n{text}"):
        assert all(len(frame.file) <= 500 for frame in stack.frames)
    is_whole(text)


def test_documents_for_other_tools() -> None:
    inner, outer = Frame("/a/b.py", 2, "inner"), Frame("/a/b.py", 9, "outer")
    counted = [((inner, outer), 3), ((outer,), 1), ((), 2)]
    assert collapsed(counted) == "(idle) 2\nouter (b.py) 1\nouter (b.py);inner (b.py) 3\n"
    document = json.loads(json.dumps(speedscope("n", counted, 0.5)))
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    (profile,) = document["profiles"]
    assert profile["weights"] == [1.5, 0.5, 1.0] and profile["endValue"] == 3.0
    names = [[document["shared"]["frames"][i]["name"] for i in sample] for sample in profile["samples"]]
    assert names == [["outer", "inner"], ["outer"], []]
    assert collapsed([((HOSTILE,), 1)]).count("\n") == 1


def test_a_flame_graph_is_one_svg_whose_names_are_escaped() -> None:
    inner, outer = Frame("/a/b.py", 2, "inner"), Frame("/a/b.py", 9, "outer")
    text = flame_graph("<title>", [((inner, outer), 3), ((outer,), 1), ((HOSTILE,), 4)])
    root = ET.fromstring(text)
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "all (8 of 8)" or "8 of 8 samples, 100.0%" in str(titles[0])
    assert any("inner (b.py): 3 of 8 samples" in str(title) for title in titles)
    assert {one.tag.rpartition("}")[2] for one in root.iter()} == {
        "svg",
        "style",
        "g",
        "rect",
        "title",
        "text",
    }
    assert "\x1b" not in text
    assert ET.fromstring(flame_graph("none", [])) is not None


ANSWERS = [
    (Where((Task(b"j" * 16, 1, (0, 4), 2, 1.5),), TEXT, ""), read_stack),
    (Profile(1.0, 3, 0, 0.02, (((Frame("f", 1, "g"),), 3),), "n"), read_profile),
]


@pytest.mark.parametrize(("value", "read"), ANSWERS, ids=["stack", "profile"])
def test_an_answer_comes_as_it_went(value: object, read: object) -> None:
    assert read(pack(value)) == value  # type: ignore[operator,arg-type]


def test_a_trace_comes_as_it_went_but_opened() -> None:
    one = Traced(7, b"i" * 16, 0.0, "", b"raw", (Task(b"j" * 16, 1, (0, 4), 2, 1.5),))
    packed = one._replace(raw=zlib.compress(b"raw"))
    assert read_traces(pack(Traces(5.0, 1.0, (packed,)))) == Traces(5.0, 1.0, (one,))
    bomb = one._replace(raw=zlib.compress(bytes(100 << 20)))
    (opened,) = read_traces(pack(Traces(5.0, 1.0, (bomb,)))).processes
    assert len(opened.raw) == SIZE
    with pytest.raises(Unreadable, match="not compressed"):
        read_traces(pack(Traces(5.0, 1.0, (one,))))


WILD = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(max_size=3) | st.binary(max_size=3) | st.floats(0, 1),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=20,
)


@given(WILD, st.sampled_from([read_stack, read_profile, read_traces]))
def test_no_other_answer_is_read(value: object, read: object) -> None:
    for data in (msgpack.packb(value), b"\xc1"):
        try:
            read(data)  # type: ignore[operator]
        except Unreadable:
            continue


def test_coroutines_come_behind_the_threads() -> None:
    text = (
        'Current thread 0x1 (most recent call first):\n  File "/a/boot.py", line 9 in <module>\n'
        f"{coroutine_line(bytes(16), (3, 10))}\n"
        '  File "/s/stages.py", line 4 in get\n  File "/s/stages.py", line 9 in process\n'
        f"{coroutine_line(bytes(16), ())}\n"
        f"{END}\n"
    )
    assert [stack.thread for stack in parse(text)] == ["0x1"]
    assert len(parse(text)[0].frames) == 1
    assert coroutines(text) == {
        (bytes(16), (3, 10)): (Frame("/s/stages.py", 4, "get"), Frame("/s/stages.py", 9, "process")),
        (bytes(16), ()): (),
    }
    assert is_whole(text, more=True) and not is_whole(text)
    late = text[text.index("Coroutine") :]
    assert parse(late + text)[0].thread == "0x1" and not is_whole(late, more=True), "it is passed over"
    assert coroutines("Coroutine 00 1\n" * 3) == {}
