"""Stages that note what they are given, and how often each content was processed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.support.cluster import stage


def counts(path: Path) -> Counter[str]:
    """How often each content was processed."""
    return Counter(path.read_text().split())


def logged(tmp_path: Path, seconds: float = 0.001) -> list[dict[str, object]]:
    """Two stages that note what they are given."""
    return [
        stage("first", "Log", 2, path=str(tmp_path / "first"), seconds=seconds),
        stage("second", "Log", 2, path=str(tmp_path / "second"), seconds=seconds),
    ]
