"""Lines of child processes come whole, however they were written."""

from __future__ import annotations

import os
import subprocess
import sys

from zturbo.terminal.output import LONGEST, ChildOutput


def test_lines_of_a_child_come_whole() -> None:
    said: list[str] = []
    output = ChildOutput(said.append)
    code = (
        "import os, sys; assert sys.stdout.isatty()\n"
        "print('one'); os.write(1, b'caf\\xe9 '); sys.stderr.write('two\\n'); print('\\r 10 %\\r100 %'); "
        "print('no end', end='')"
    )
    subprocess.run([sys.executable, "-c", code], stdout=output.fd, stderr=output.fd, check=True)
    output.close()
    assert said == ["one", "caf\N{REPLACEMENT CHARACTER} two", "100 %", "no end"]


def test_a_line_without_an_end_is_cut() -> None:
    said: list[str] = []
    output = ChildOutput(said.append)
    left = memoryview(b"x" * (2 * LONGEST))
    while left:
        left = left[os.write(output.fd, left) :]
    output.close()
    assert sum(map(len, said)) == 2 * LONGEST and len(said) >= 2
