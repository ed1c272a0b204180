"""The code of README and docs: programs print what is shown, network files are right, commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, Session, blocks, matches
from zturbo.cli import parser
from zturbo.deploy.network import Network, tomllib
from zturbo.errors import NetworkFileError

SESSIONS = [ROOT / "docs" / f"{name}.md" for name in ("first-pipeline", "testing", "worker-died", "failures")]
"""Pages whose blocks are done one after another."""

BLOCKS = [block for page in PAGES if page not in SESSIONS for block in blocks(page)]
ALL = [block for page in PAGES for block in blocks(page)]
PROGRAMS = [
    (block, after.text if after is not None and after.lang == "text" else "")
    for block, after in zip(BLOCKS, [*BLOCKS[1:], None], strict=True)
    if block.lang == "python" and block.mark in ("", "processes")
]


@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.name)
def test_a_reader_who_follows_the_page_sees_what_it_shows(tmp_path: Path, page: Path) -> None:
    with Session(tmp_path) as session:
        for block in blocks(page):
            session.do(block)


def test_a_page_that_shows_something_else_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n\n```sh\nfalse\n```\n")
    program, output, command = blocks(page)
    assert (program.lang, output.text, command.line) == ("python", "2\n", 9)
    with Session(tmp_path) as session:
        session.do(program)
        with pytest.raises(AssertionError, match="the page shows\n2"):
            session.do(output)
        with pytest.raises(AssertionError, match="false"):
            session.do(command)


RUNS = [
    pytest.param(block, prints, options, id=f"{block}-{options or 'processes'}")
    for block, prints in PROGRAMS
    for options in ("", "single_sync_pipeline")
    if not (options and block.mark == "processes")
]


@pytest.mark.parametrize(("block", "prints", "options"), RUNS)
def test_programs_run(tmp_path: Path, block: Block, prints: str, options: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(block.text)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ZTURBO_OPTIONS": f"no_progress_bar {options}"}
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert matches(prints, done.stdout), f"the page shows\n{prints}\nbut it gave\n{done.stdout}{done.stderr}"


def test_the_blocks_are_found() -> None:
    assert len(PROGRAMS) >= 3
    assert all(blocks(page) for page in SESSIONS)
    assert {block.lang for block in ALL} <= {"python", "toml", "sh", "text", "dockerfile", ""}


@pytest.mark.parametrize("block", [b for b in ALL if b.lang == "toml"], ids=str)
def test_network_files_are_right(block: Block) -> None:
    table = tomllib.loads(block.text)
    if block.title == "wrong.toml":
        with pytest.raises(NetworkFileError):
            Network.parse(table, str(block))
    elif block.mark != "fragment":
        Network.parse(table, str(block))


COMMANDS = [
    pytest.param(line.strip(), id=f"{block}-{line.strip()[:40]}")
    for block in ALL
    if block.lang == "sh"
    for line in block.text.splitlines()
    if line.strip() and not line.strip().startswith("#")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"\[--.*|\w+=\S*", word)]
    match words:
        case ["zturbo", *rest]:
            try:
                ours = takewhile(lambda word: word not in ("|", ">", "&"), rest)
                parser().parse_args([*ours])
            except SystemExit as error:
                assert not error.code, f"zturbo does not take: {line}"
        case ["python", "-m", module, *_] if module.split(".")[0] in ("examples", "tests", "benchmarks"):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
        case ["salloc" | "srun", *rest] if "zturbo" in rest:
            test_commands_exist(shlex.join(rest[rest.index("zturbo") :]))
        case [command, *_]:
            known = (
                "python",
                "pip",
                "pytest",
                "kill",
                "wait",
                "cat",
                "sqlite3",
                "git",
                "mkdir",
                "cd",
                "touch",
                "export",
                "kubectl",
            )
            assert command in known or (ROOT / command).is_file(), f"what is {command}?"
