"""What stands on a real (pseudo-)terminal while a System works."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte

SCRIPT = """
import time
from zturbo import Job, Stage, System, Task

class Fan(Stage):
    def process(self, task):
        for number in range(task.content):
            yield Task(number)

class Work(Stage):
    def init(self, worker_id=0):
        super().init(worker_id)
        print("ORB ready in worker", worker_id)

    def process(self, task):
        time.sleep(0.002)
        if task.content % 10 == 0:
            self.logger.warning("a line of a worker %d.", task.content)
        if task.content == 7:
            raise ValueError("seven [/no]")
        return Task(task.content)

class Mine(System):
    def get_stages(self, resources):
        work = Work()
        work.num_worker = 2
        return [Fan(), work]

if __name__ == "__main__":
    with Mine() as system:
        for number in range(30):
            system.add_job(Job(f"clip [/{number}]", Task(30)))
        for job in system.wait_jobs(30):
            print("mine:", job.name)
"""


def on_a_terminal(command: list[str], rows: int, columns: int) -> tuple[list[str], int]:
    """All lines that a command leaves on a terminal, those that were scrolled away too, and its exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    screen = pyte.HistoryScreen(columns, rows, history=10_000)
    stream = pyte.ByteStream(screen)
    while True:
        try:
            raw = os.read(master, 1 << 16)
        except OSError:
            break
        if not raw:
            break
        stream.feed(raw)
    os.close(master)
    above = ["".join(line[x].data for x in range(columns)).rstrip() for line in screen.history.top]
    return [*above, *(line.rstrip() for line in screen.display)], process.wait(60)


def test_lines_stand_whole_above_a_display_that_ends_true(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    lines, code = on_a_terminal([sys.executable, str(script)], 24, 100)
    text = "\n".join(lines)
    assert code == 0, text
    assert {"ORB ready in worker 0", "ORB ready in worker 1"} <= set(lines), text
    assert sum(line.startswith("mine: clip [/") for line in lines) == 30, text
    worker_lines = [line for line in lines if "a line of a worker" in line]
    assert len(worker_lines) == 90 and all(line.endswith(".") for line in worker_lines), text
    assert text.count("a task failed: ValueError: seven") == 30, text
    last = [line for line in lines if line][-1]
    assert last.split() == "30 jobs ended 30 done; 30 failed tasks".split(), text
    assert "running" not in "\n".join(lines[-10:]), text


def test_without_a_terminal_there_are_nothing_but_lines(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "\x1b" not in done.stderr
    for number in range(30):
        assert done.stderr.count(f"clip [/{number}]: done, 29 results, 1 failed\n") == 1


BAR = r"""
from zturbo.utils import progressbar

desc = "a\x1b[2J\x9b2J [/bold] [red]x[/] \udce9\nb\rc"
with progressbar(total=3, desc=desc) as bar:
    bar.update(1)
    bar.set_description(desc)
    bar.update(2)
for _ in progressbar(range(2), desc="plain"):
    pass
print("after")
"""


def test_a_bars_description_steers_nothing(tmp_path: Path) -> None:
    script = tmp_path / "bar.py"
    script.write_text("print('before')\n" + BAR)
    lines, code = on_a_terminal([sys.executable, str(script)], 24, 120)
    lines = [line for line in lines if line]
    assert code == 0 and len(lines) == 4, lines
    assert lines[0] == "before" and lines[3] == "after"
    odd = "\N{REPLACEMENT CHARACTER}"
    assert lines[1].startswith(f"a{odd}[2J{odd}2J [/bold] [red]x[/] {odd}{odd}b{odd}c"), lines
    assert "3/3" in lines[1] and lines[2].startswith("plain") and "2/2" in lines[2], lines
