"""The fingerprint of a stage's code: of the user's modules that were imported for it, and of no others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]


def fingerprint(folder: Path, *, env: dict[str, str] | None = None, optimise: bool = False) -> str:
    """That of ``stages:Step`` in a fresh process, as a worker has it."""
    code = (
        "from zturbo.runtime.code.importing import load_class\n"
        "from zturbo.runtime.code.fingerprint import fingerprint\n"
        "load_class('stages:Step'); print(fingerprint('stages'))"
    )
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", **(env or {})}
    out = subprocess.run(
        [sys.executable, *(["-O"] if optimise else []), "-c", code],
        cwd=folder,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return out.stdout.strip()


def project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "stages.py").write_text(
        "import json\nimport helper\nfrom zturbo import Stage\nclass Step(Stage): ...\n"
    )
    (folder / "helper.py").write_text("LIMIT = 1\n")
    (folder / "other.py").write_text("LIMIT = 1\n")
    return folder


def test_it_covers_what_the_stage_imports_and_nothing_else(tmp_path: Path) -> None:
    here = project(tmp_path / "here")
    first = fingerprint(here)
    assert len(first) == 8 and fingerprint(here) == first == fingerprint(here, optimise=True)
    (here / "other.py").write_text("LIMIT = 2\n")
    assert fingerprint(here) == first, "it is not imported"
    (here / "helper.py").write_text("LIMIT = 2\n")
    second = fingerprint(here)
    assert second != first
    (here / "stages.py").write_text((here / "stages.py").read_text() + "# edited\n")
    assert fingerprint(here) not in (first, second)


def test_it_is_the_same_in_another_folder_and_on_another_host(tmp_path: Path) -> None:
    assert fingerprint(project(tmp_path / "one")) == fingerprint(project(tmp_path / "two"))


def test_what_is_installed_counts_only_if_it_is_the_stages_own_package(tmp_path: Path) -> None:
    here = project(tmp_path / "here")
    packages = tmp_path / "lib" / "site-packages"
    packages.mkdir(parents=True)
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}:{packages}"}
    for name in ("helper.py", "stages.py"):
        (here / name).rename(packages / name)
    first = fingerprint(here, env=env)
    (packages / "helper.py").write_text("LIMIT = 2\n")
    assert fingerprint(here, env=env) == first
    (packages / "stages.py").write_text((packages / "stages.py").read_text() + "# edited\n")
    assert fingerprint(here, env=env) != first


def test_a_module_with_a_name_that_is_taken_counts_by_its_own_name(tmp_path: Path) -> None:
    here = project(tmp_path / "here")
    (here / "helper.py").rename(here / "queue.py")
    (here / "stages.py").write_text((here / "stages.py").read_text().replace("helper", "queue"))
    first = fingerprint(here)
    (here / "queue.py").write_text("LIMIT = 2\n")
    assert fingerprint(here) != first
