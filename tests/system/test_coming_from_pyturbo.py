"""The page for pyturbo users: its code runs, and prints what it says, in processes and in one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/coming-from-pyturbo.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.DOTALL)


@pytest.mark.parametrize("options", ["no_progress_bar", "no_progress_bar single_sync_pipeline"])
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_it_runs(tmp_path: Path, number: int, options: str) -> None:
    code, prints = BLOCKS[number]
    script = tmp_path / "script.py"
    script.write_text(code)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ZTURBO_OPTIONS": options}
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    if prints:
        assert done.stdout == prints
    else:
        assert done.stdout.endswith("['job 0', 'job 1', 'job 2']\n")
        assert done.stderr.count("restored:") == 2 and "False" not in done.stderr


def test_it_has_three_scripts() -> None:
    assert len(BLOCKS) == 3
