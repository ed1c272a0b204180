"""The example of the airports: right, in processes too, and as the one command that is promised."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airportsdata", reason="needs the airports extra")

from examples.airports.stages import AIRPORTS, Nearest, Remotest, by_country
from zturbo import Stage
from zturbo.testing import run

ROOT = Path(__file__).parents[2]


def stages() -> list[Stage | Callable[..., Any]]:
    return [by_country, Nearest(), Remotest()]


def kilometres(a: str, b: str) -> float:
    """By the haversine formula, which the example does not use."""
    lat1, lon1, lat2, lon2 = (
        math.radians(AIRPORTS[c][k])  # type: ignore[literal-required]
        for c in (a, b)
        for k in ("lat", "lon")
    )
    h = math.sin((lat2 - lat1) / 2) ** 2
    h += math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(h))


def test_it_is_right() -> None:
    for country, count, code, _, km in run(stages(), ["IS", "SH", "CL"]):
        mine = [other for other, row in AIRPORTS.items() if row["country"] == country]
        assert count == len(mine)
        assert code in mine
        assert km == round(min(kilometres(code, other) for other in AIRPORTS if other != code))


@pytest.mark.parametrize("stage", ["by_country", "Nearest", "Remotest"])
def test_a_death_changes_nothing(stage: str) -> None:
    countries = ["IS", "SH", "CL", "DE", "MT"]
    outcome = run(stages(), countries, kill=stage, after=1)
    assert outcome == run(stages(), countries)
    assert outcome.deaths == [f"{stage}: SIGKILL"]


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "airports.toml"
    text = (ROOT / "examples/airports/airports.toml").read_text()
    assert ":5557" in text
    file.write_text(text.replace(":5557", f":{port}"))
    done = subprocess.run(
        [sys.executable, "-m", "examples.airports", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if " km from " in line]
    assert len(lines) == 10
    assert "Mataveri Airport" in lines[0]


def test_it_is_short() -> None:
    files = (ROOT / "examples/airports").glob("*.py")
    assert sum(len(file.read_text().splitlines()) for file in files) < 80
