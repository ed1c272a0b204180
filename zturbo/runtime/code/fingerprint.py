"""A fingerprint of a stage's code: of all modules of the user that were imported for it.

Modules that are installed do not count, nor do Python's own: hosts may have other builds of them. Compiled
modules do not count either. The user's package counts also where it is installed.
"""

from __future__ import annotations

import os
import sys
import zlib
from importlib.machinery import EXTENSION_SUFFIXES

from zturbo.runtime.code.theirs import plain

__all__ = ["fingerprint"]

_OURS = (
    "zturbo",
    "zturbo_broker",
    "zturbo_theirs",
    "__main__",
    "__mp_main__",
    "sitecustomize",
    "usercustomize",
)
_LIBRARY = (
    os.path.dirname(os.__file__) + os.sep,
    f"{os.sep}site-packages{os.sep}",
    f"{os.sep}dist-packages{os.sep}",
)


def fingerprint(package: str = "") -> str:
    """The fingerprint of the user's modules that this process has imported; empty if there are none.

    Args:
        package: the top-level package or module of the stage, which counts wherever it lies.

    Returns:
        Eight hexadecimal digits: the CRC-32 of the modules' names and sources.
    """
    crc = 0
    found = {plain(name): path for name in list(sys.modules) if (path := _source(name, package)) is not None}
    for name, path in sorted(found.items()):
        try:
            with open(path, "rb") as file:
                source = file.read()
        except OSError:  # a module may have any path; it counts by its name
            source = b""
        crc = zlib.crc32(source, zlib.crc32(f"{name}\n{len(source)}\n".encode("utf-8", "replace"), crc))
    return f"{crc:08x}" if found else ""


def _source(name: str, package: str) -> str | None:
    """The source file of a module of the user; None for all other modules."""
    top = plain(name).partition(".")[0]
    if name in _OURS or (top in _OURS and top == name.partition(".")[0]):
        return None
    path = getattr(sys.modules.get(name), "__file__", None)
    if type(path) is not str or path.endswith(tuple(EXTENSION_SUFFIXES)):
        return None
    if top != package and any(folder in path for folder in _LIBRARY):
        return None
    return path.removesuffix("c") if path.endswith(".pyc") else path
