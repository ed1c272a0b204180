"""Ctrl-C, and stages that live in __main__: scripts, notebooks, code on stdin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import eventually
from zturbo.errors import StartError
from zturbo.runtime.code.importing import load_class

ROOT = Path(__file__).parents[2]

MINE = """
import os, sys, time
import zturbo
from zturbo import Job, ReorderStage, Stage, System, Task, process_map

FACTOR = 3

def times(x):
    return x * FACTOR

class Point:
    def __init__(self, x):
        self.x = x

zturbo.register(Point, "point", lambda point: point.x, Point)

class Slow(Stage):
    def init(self, worker_id=0):
        super().init(worker_id)
        if "--slow-init" in sys.argv:
            time.sleep(600)

    def process(self, task):
        if task.content < 0:
            print("working", file=sys.stderr, flush=True)
            time.sleep(600)
        return Task(Point(times(task.content)))

class Mine(System):
    def get_stages(self, resources):
        return [Slow()]

def work(content):
    system = Mine()
    print("begun", file=sys.stderr, flush=True)
    system.start()
    system.add_job(Job("one", Task(content)))
    print(system.wait_job().results[0].x, flush=True)
    system.end()
"""

CALL = """
work(7)
print(sorted(process_map(times, [1, 2, 3], 2)))
"""


class Program:
    """A Python program in a folder for temporary files of its own.

    Args:
        folder: where its files are.
        words: of its command line, after ``python``.
    """

    def __init__(self, folder: Path, *words: str) -> None:
        self.temporary = folder / "t"
        self.temporary.mkdir(exist_ok=True)
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.temporary),
            "ZTURBO_OPTIONS": "no_progress_bar",
        }
        env.pop("XDG_RUNTIME_DIR", None)
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=env,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def wait_for(self, word: str) -> None:
        """Until it says so on stderr."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if word in line:
                return
        raise AssertionError(f"{word!r} was not said: {self.said}")

    def children(self) -> list[int]:
        """Its children, of all its threads."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]

    def over(self, timeout: float = 20) -> tuple[str, str]:
        """What it has said, once it is over."""
        out, said = self.process.communicate(timeout=timeout)
        return out, self.said + said


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        if program.process.poll() is None:
            os.killpg(program.process.pid, signal.SIGKILL)
            program.process.communicate()


def nothing_left(program: Program, pids: list[int]) -> None:
    """No process, no socket, no folder."""
    eventually(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])
    assert not list(program.temporary.iterdir()), list(program.temporary.rglob("*"))


@pytest.mark.parametrize("how", ["file", "-c", "stdin", "-i"])
def test_stages_of_main(tmp_path: Path, programs: list[Program], how: str) -> None:
    guarded = MINE + '\nif __name__ == "__main__":\n' + CALL.replace("\n", "\n    ")
    text = None
    if how == "file":
        (tmp_path / "script.py").write_text(guarded)
        program = Program(tmp_path, "script.py")
    elif how == "-c":
        program = Program(tmp_path, "-c", MINE + CALL)
    elif how == "stdin":
        program, text = Program(tmp_path, "-"), MINE + CALL
    else:  # as in a notebook: a line at a time, in a __main__ that has no file
        program, text = Program(tmp_path, "-i"), f"exec({MINE!r}, globals())\n{CALL}"
    programs.append(program)
    out, said = program.process.communicate(text, timeout=60)
    assert out == "21\n[3, 6, 9]\n", said
    nothing_left(program, [])


def test_what_workers_cannot_find_is_said(tmp_path: Path, programs: list[Program]) -> None:
    inside = MINE.replace("\n", "\n    ")
    (tmp_path / "script.py").write_text(f'if __name__ == "__main__":\n    {inside}\n    work(7)\n')
    programs.append(Program(tmp_path, "script.py"))
    out, said = programs[0].over(60)
    assert out == "" and "not under if __name__ == '__main__'" in said
    (tmp_path / "script.py").write_text(MINE + "\nwork(7)\n")
    programs.append(Program(tmp_path, "script.py"))
    out, said = programs[1].over(60)
    assert out == "" and "put what starts it under if __name__ == '__main__':" in said
    nothing_left(programs[1], [])
    with pytest.raises(StartError, match=r"__main__:X: .* move it to a module .* or use zturbo\.System"):
        load_class("__main__:X")


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("when", ["at once", "start", "wait"])
def test_ctrl_c_in_a_script(tmp_path: Path, programs: list[Program], when: str, group: bool) -> None:
    (tmp_path / "script.py").write_text(MINE + '\nif __name__ == "__main__":\n    work(-1)\n')
    words = ["script.py"] if when == "wait" else ["script.py", "--slow-init"]
    program = Program(tmp_path, *words)
    programs.append(program)
    if when != "start":
        program.wait_for("working" if when == "wait" else "begun")
    else:  # while the children begin: these do not get it, or ignore it
        eventually(lambda: len(program.children()) >= 2)
    pids = program.children()
    send = os.killpg if group else os.kill  # from a terminal: to all of its group
    send(program.process.pid, signal.SIGINT)
    _, said = program.over()
    assert program.process.returncode == -signal.SIGINT
    assert said.count("KeyboardInterrupt") == 1, said
    nothing_left(program, pids)


def test_ctrl_c_in_a_notebook_cell(tmp_path: Path, programs: list[Program]) -> None:
    program = Program(tmp_path, "-i")
    programs.append(program)
    stdin = program.process.stdin
    assert stdin is not None
    stdin.write(f"exec({MINE!r}, globals())\nwork(-1)\n")
    stdin.flush()
    program.wait_for("working")
    pids = program.children()
    os.kill(program.process.pid, signal.SIGINT)
    program.wait_for("KeyboardInterrupt")
    nothing_left(program, pids)  # while the interpreter goes on
    stdin.write("print('alive')\nwork(5)\n")
    assert program.process.poll() is None
    out, said = program.process.communicate(timeout=60)
    assert out == "alive\n15\n", said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_script(tmp_path: Path, programs: list[Program], number: signal.Signals) -> None:
    program = Program(tmp_path, "-c", MINE + "\nwork(-1)\n")
    programs.append(program)
    program.wait_for("working")
    pids = program.children()
    os.kill(program.process.pid, number)
    program.over()
    nothing_left(program, pids)


def test_ctrl_c_in_process_map(tmp_path: Path, programs: list[Program]) -> None:
    slow = "\nclass Hang:\n    def __call__(self, x):\n        Slow().process(Task(-1))\n"
    call = '\nif __name__ == "__main__":\n    list(process_map(Hang(), range(10), 1))\n'
    (tmp_path / "script.py").write_text(MINE + slow + call)
    program = Program(tmp_path, "script.py")
    programs.append(program)
    program.wait_for("working")
    pids = program.children()
    os.killpg(program.process.pid, signal.SIGINT)
    program.over()
    assert program.process.returncode == -signal.SIGINT
    nothing_left(program, pids)
