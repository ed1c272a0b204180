"""The site is built, strictly; its pages that are made of the code say what the code has."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("mkdocs", reason="needs the docs extra: scripts/test installs it")


def hooks(name: str) -> ModuleType:
    """A module with hooks of the build."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return hooks("docs_pages")


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(root / "mkdocs.yml"), "-d", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_it_is_built_strictly(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "reference/api.html").read_text()
    for name in ("Stage", "ReorderStage", "BatchStage", "Task", "Job", "Result", "System", "Client"):
        assert f'id="zturbo.{name}"' in api
    assert not re.search(r":(class|meth|func|mod|attr):", api)
    assert 'id="zturbo.testing.run"' in (tmp_path / "testing.html").read_text()


@pytest.mark.parametrize("link", ["nowhere.md", "index.md#nowhere"])
def test_a_broken_link_is_an_error(tmp_path: Path, link: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Title\n\n[a link]({link})\n")
    text = (ROOT / "mkdocs.yml").read_text()
    text = text[: text.index("nav:\n  - index.md")] + "nav:\n  - index.md\n"
    text = re.sub(r"^hooks:\n( .*\n)*", "", text, flags=re.MULTILINE)
    (tmp_path / "mkdocs.yml").write_text(text)
    done = build(tmp_path, tmp_path / "out")
    assert done.returncode != 0
    assert "nowhere" in done.stderr


def test_the_pages_that_are_made_from_the_code_are_current(pages: ModuleType) -> None:
    for path, page in pages.PAGES.items():
        now = " ".join(page().split())  # argparse breaks lines in another way from version to version
        assert now in " ".join(path.read_text().split()), "run: python scripts/docs_pages.py"


def test_each_key_of_the_network_file_is_told(pages: ModuleType) -> None:
    for _, cls, _, _ in pages.TABLES:
        for name, text in pages.attribute_docs(cls).items():
            assert text, f"say below {cls.__name__}.{name} what it is, for the network file's page"
    page = pages.network_page()
    assert "| `workers` | a number, 1 or more | `1` | Number of workers that `zturbo up` starts. |" in page
    assert "| `class` | 'module:Class' | required |" in page
    assert "| `lease` | seconds, 0.5 or more | `5.0` |" in page


def test_each_command_and_argument_is_told(pages: ModuleType) -> None:
    page = pages.cli_page()
    commands = dict(pages.commands(pages.zturbo.cli.parser(), "zturbo"))
    assert "zturbo up" in commands
    for name, command in commands.items():
        assert f"## {name}\n" in page
        for action in command._actions:
            assert all(option in page for option in action.option_strings)
    assert "| 130 | stopped by Ctrl-C |" in page
    assert "`ZTURBO_BROKER`" in page
