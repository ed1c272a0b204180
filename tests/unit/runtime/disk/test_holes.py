"""Space of a file that is given back."""

from __future__ import annotations

import os
from pathlib import Path

from zturbo.runtime.disk.holes import punch_hole


def test_a_part_of_a_file_is_given_back_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (1 << 20))
    before = path.stat().st_blocks
    fd = os.open(path, os.O_RDWR)
    punch_hole(fd, 0, 1000)
    punch_hole(fd, 0, 1 << 19)
    punch_hole(fd, 0, 0)
    os.close(fd)
    content = path.read_bytes()
    assert content[: 1 << 19] == bytes(1 << 19) and content[1 << 19 :] == b"x" * (1 << 19)
    assert path.stat().st_blocks <= before // 2
