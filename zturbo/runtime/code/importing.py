"""Stages from their names: import, check, build."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from zturbo.api.stage import Stage
from zturbo.api.stage_kinds import FunctionStage
from zturbo.errors import StartError
from zturbo.errortext import render
from zturbo.hardware.resources import Resources
from zturbo.runtime.code.theirs import find_theirs, import_theirs, plain

__all__ = ["build_stage", "load_class", "load_object"]


def _nearest(word: str, kind: type, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"its {kind.__name__}s are: {', '.join(names) or 'none'}"


def _nearest_module(module_name: str) -> str:
    """The module beside it whose name is nearest, as a hint; empty if there is none."""
    import difflib
    import pkgutil

    parent, _, last = module_name.rpartition(".")
    try:
        path = list(importlib.import_module(parent).__path__) if parent else [os.getcwd()]
    except (ImportError, AttributeError):
        return ""
    near = difflib.get_close_matches(last, [found.name for found in pkgutil.iter_modules(path)], 1)
    return f"; did you mean {f'{parent}.{near[0]}'.lstrip('.')!r}?" if near else ""


def load_object(name: str, kind: type = Stage) -> Any:
    """The object that ``module:name`` names; the current directory is on the import path.

    Args:
        name: what to import.
        kind: if the module has no such object, the error names its subclasses of this class.

    Raises:
        StartError: the module cannot be imported, or has no such object; the import's error is the cause.
    """
    module_name, _, class_name = name.partition(":")
    if module_name == "__main__":
        raise StartError(
            f"{name}: a class of a main script or of a notebook cannot be imported by another process, whose "
            f"__main__ is another one: move it to a module and name that, 'module:{class_name}', or use "
            "zturbo.System, which brings such classes to its own workers"
        )
    here = os.getcwd()
    find_theirs([here])
    try:
        module = import_theirs(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an import runs the user's code
        hint = ""
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name
            and module_name.startswith(plain(error.name))
        ):
            hint = f" (looked in {here} and the installed packages)" + _nearest_module(module_name)
        raise StartError(
            f"{name}: cannot import {module_name}: {plain(render(error).sentence)}{hint}"
        ) from error
    cls = getattr(module, class_name, None)
    if cls is None:
        here = module.__name__
        mine = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == here]
        have = [v.__name__ for v in mine if issubclass(v, kind)]
        raise StartError(f"{name}: {module_name} has no {class_name!r}; {_nearest(class_name, kind, have)}")
    return cls


def load_class(name: str) -> type[Stage] | Callable[..., Any]:
    """The stage class or function that ``module:name`` names.

    Raises:
        StartError: as :func:`load_object`, or the object is neither.
    """
    cls = load_object(name)
    if isinstance(cls, type) and issubclass(cls, Stage):
        return cls
    if isinstance(cls, type) or not callable(cls):
        raise StartError(f"{name} is neither a subclass of zturbo.Stage nor a function")
    function: Callable[..., Any] = cls
    return function


def build_stage(
    cls: type[Stage] | Callable[..., Any], args: Mapping[str, Any], resources: Resources
) -> Stage:
    """Make an instance, with ``resources`` if its ``__init__`` takes them; or make a stage of a function.

    Raises:
        UsageError: a function does not take these arguments.
    """
    if not isinstance(cls, type):
        return FunctionStage(cls, **args)
    parameters = _parameters(cls)
    if "resources" not in parameters or "resources" in args:
        stage: Stage = cls(**args)
    elif parameters[0] == "resources":
        stage = cls(resources, **args)
    else:
        stage = cls(resources=resources, **args)
    return stage


def _parameters(cls: type[Stage]) -> list[str]:
    """Names of the arguments that a class takes."""
    init: Any = cls.__init__
    new: Any = cls.__new__
    if type(cls) is type and new is object.__new__ and type(init) is FunctionType and not vars(init):
        code = init.__code__
        if not code.co_kwonlyargcount:
            return list(code.co_varnames[1 : code.co_argcount])
    import inspect  # here, because few stages need it, and it takes a thirtieth of a worker's start

    return list(inspect.signature(cls).parameters)
