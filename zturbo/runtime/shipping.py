"""Stage objects of a ``System`` on their way to its own children.

The one module that uses pickle, and only for what a parent hands to a child that it has just started,
over the child's stdin. Nothing that comes from a socket comes here.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from multiprocessing import spawn
from typing import Any

from zturbo.errors import UsageError
from zturbo.stage import Stage

__all__ = ["in_child", "pack_stage", "unpack_stage"]

_MAIN = ("sys_path", "sys_argv", "orig_dir", "dir", "init_main_from_name", "init_main_from_path")

_state = {"child": False}


def in_child() -> bool:
    """Whether this process is a worker of a ``System`` that is importing the user's main module."""
    return _state["child"]


def pack_stage(stage: Stage) -> bytes:
    """A stage object, and how to find the script that defines its class.

    Raises:
        UsageError: it cannot be pickled; it says what to do.
    """
    data = spawn.get_preparation_data("zturbo")
    prepared: dict[str, Any] = {name: data[name] for name in _MAIN if name in data}
    try:
        return pickle.dumps((prepared, pickle.dumps(stage)))
    except Exception as error:  # pickle raises whatever the object's own code raises
        raise UsageError(
            f"stage {type(stage).__name__} cannot be sent to its workers: {error}. Make what cannot be "
            "pickled (models, files, locks, lambdas) in init(), which runs in the worker"
        ) from error


def unpack_stage(raw: bytes) -> Callable[[], Stage]:
    """What makes the stage again, any number of times."""
    prepared, pickled = pickle.loads(raw)
    _state["child"] = True
    spawn.prepare(prepared)

    def build() -> Stage:
        stage: Stage = pickle.loads(pickled)
        return stage

    return build
