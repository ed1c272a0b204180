"""Stages from their names: import, check, build."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from typing import Any

from zturbo.errors import StartError
from zturbo.resources import Resources
from zturbo.stage import Stage

__all__ = ["build_stage", "code_hash", "load_class"]


def load_class(name: str) -> type[Stage]:
    """The stage class that ``module:Class`` names; the current directory is on the import path.

    Raises:
        StartError: it does not import, or is no stage; the import's own error is its cause.
    """
    module_name, _, class_name = name.partition(":")
    if module_name == "__main__":
        raise StartError(
            f"{name}: a class of a main script or of a notebook cannot be imported by another process, whose "
            f"__main__ is another one: move it to a module and name that, 'module:{class_name}', or use "
            "zturbo.System, which brings such classes to its own workers"
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # an import runs the user's code
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name and module_name.startswith(error.name):
            hint = f" (looked in {here} and the installed packages)"
        raise StartError(
            f"{name}: cannot import {module_name}: {type(error).__name__}: {error}{hint}"
        ) from error
    cls = getattr(module, class_name, None)
    if cls is None:
        here = module.__name__
        mine = [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == here]
        have = [v.__name__ for v in mine if issubclass(v, Stage)]
        raise StartError(
            f"{name}: {module_name} has no {class_name!r}; its stages are: {', '.join(have) or 'none'}"
        )
    if not (inspect.isclass(cls) and issubclass(cls, Stage)):
        raise StartError(f"{name} is no subclass of zturbo.Stage")
    return cls


def build_stage(cls: type[Stage], args: Mapping[str, Any], resources: Resources) -> Stage:
    """An instance, with ``resources`` where its ``__init__`` takes them."""
    parameters = inspect.signature(cls.__init__).parameters
    if "resources" in parameters and "resources" not in args:
        return (
            cls(resources, **args) if "resources" == list(parameters)[1] else cls(resources=resources, **args)
        )
    return cls(**args)


def code_hash(cls: type) -> str:
    """A hash of the source file of a class, to tell hosts with different code apart."""
    try:
        path = inspect.getsourcefile(cls)
        if path is None:
            return ""
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(), digest_size=8).hexdigest()
    except (OSError, TypeError):
        return ""
