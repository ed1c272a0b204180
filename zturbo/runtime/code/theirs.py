"""A user's modules whose names are taken: ``queue.py``, ``random.py``, ``types.py`` beside the user's stages.

Two modules of one name cannot both be ``sys.modules[name]``. Python's own library and ours go on using the
first. The user's module is imported under another name, and an import statement in a file of the user's
folders gets that one. If no name is taken, import statements stay as they are.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from zturbo.runtime.process.boot import split_path

__all__ = ["find_theirs", "import_theirs", "plain"]

_ALIAS = "zturbo_theirs"
"""The package of the user's modules with a name that is taken."""

_OURS = ("zturbo", "zturbo_broker")

_MAIN = ("__main__", "__mp_main__")

_folders: list[str] = []
_names: set[str] = set()
_python = builtins.__import__


def find_theirs(folders: Sequence[str]) -> None:
    """Let the modules of these folders be imported, before those that are installed.

    Args:
        folders: the working directory, or the folders that the user's own process has first on its path.
    """
    own, rest = split_path()
    new = [folder for folder in dict.fromkeys(folders) if folder not in own]
    sys.path[:] = [*own, *new, *(entry for entry in rest if entry not in new)]
    _folders[:] = dict.fromkeys([*new, *_folders])
    for folder in new:
        _names.update(_taken(folder))
    if not _names:
        return
    package = sys.modules.setdefault(_ALIAS, ModuleType(_ALIAS))
    package.__path__ = _folders
    builtins.__import__ = _import


def import_theirs(name: str) -> ModuleType:
    """Import a module for the user: the user's own, if its name is taken."""
    return importlib.import_module(f"{_ALIAS}.{name}" if name.partition(".")[0] in _names else name)


def plain(text: str) -> str:
    """An error's text with the names that the user gave."""
    return text.replace(f"{_ALIAS}.", "")


def _taken(folder: str) -> set[str]:
    """Names of this folder's modules that Python's library has too, or that are imported from elsewhere."""
    try:
        there = set(os.listdir(folder))
    except OSError:
        return set()
    names = {*sys.stdlib_module_names, *(name for name in sys.modules if "." not in name)}
    names -= {*sys.builtin_module_names, *_MAIN, *_OURS, _ALIAS}
    return {name for name in names if _is_module(folder, name, there) and not _is_loaded(folder, name)}


def _is_module(folder: str, name: str, there: set[str]) -> bool:
    return f"{name}.py" in there or (
        name in there and os.path.isfile(os.path.join(folder, name, "__init__.py"))
    )


def _is_loaded(folder: str, name: str) -> bool:
    """Whether this folder's module is the one that is imported under this name."""
    file = getattr(sys.modules.get(name), "__file__", None)
    own = [os.path.join(folder, f"{name}.py"), os.path.join(folder, name, "__init__.py")]
    return isinstance(file, str) and os.path.realpath(file) in map(os.path.realpath, own)


def _is_theirs(module: Mapping[str, Any]) -> bool:
    """Whether a module is the user's: neither ours, nor Python's, nor installed."""
    file = module.get("__file__")
    if not isinstance(file, str):  # of a notebook, or of ``python -c``
        return module.get("__name__") in _MAIN
    path = os.path.abspath(file)
    folders = [*sys.path, *_folders, *(home for name in _OURS if (home := _home(name)))]
    around = [folder for folder in folders if folder and path.startswith(folder.rstrip("/") + "/")]
    return not around or max(around, key=len) in _folders


def _home(package: str) -> str:
    return os.path.dirname(getattr(sys.modules.get(package), "__file__", None) or "")


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """An import statement calls this in place of Python's own ``__import__``."""
    top = name.partition(".")[0]
    if level or top not in _names or globals is None or not _is_theirs(globals):
        return _python(name, globals, locals, fromlist or (), level)
    module = _python(f"{_ALIAS}.{name}", globals, locals, fromlist or (), 0)
    return module if fromlist else sys.modules[f"{_ALIAS}.{top}"]
