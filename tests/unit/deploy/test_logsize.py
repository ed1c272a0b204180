"""The file with a command's output stays small, and its last lines are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from zturbo.deploy.logsize import older, turn


def test_a_file_that_is_too_large_is_turned(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with open(log, "ab", buffering=0) as file:
        file.write(b"x" * 90 + b"last line\n")
        assert not turn(file.fileno(), log, 100)
        file.write(b"more\n")
        assert turn(file.fileno(), log, 100)
        assert log.read_bytes() == b""
        assert older(log).read_bytes() == b"x" * 85 + b"last line\nmore\n"
        file.write(b"next\n")  # goes to the start of the file
        assert log.read_bytes() == b"next\n"
        assert older(log).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1"]


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    read, write = os.pipe()
    assert not turn(write, tmp_path / "none", 0)
    os.close(read), os.close(write)


CODE = """
import os, sys
from pathlib import Path
from zturbo.deploy import logsize
logsize.LARGEST = 1000
logsize.turn.__defaults__ = (1000,)
logsize.bound_output(0.01)
children = [os.fork() for _ in range(2)]
number = 0
while number < 2000 or not Path(sys.argv[1]).exists():
    os.write(2, b"%d\\n" % number)
    number += 1
"""


def test_all_who_write_to_it_go_on(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with open(log, "ab") as file:
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(older(log))], stdout=file, stderr=file, timeout=60
        )
    assert done.returncode == 0
    lines = log.read_text().splitlines()
    assert not [line for line in lines if not line.isdecimal()], "no holes, and nothing was raised"
