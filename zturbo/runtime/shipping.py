"""Python objects of a ``System`` on their way to its own children, and of ``process_map`` there and back.

The one module that uses pickle. Stages go from a parent to a child that it has just started, over the
child's stdin. The calls of :func:`zturbo.process_map` and their results go between this process and its
own children, over ipc sockets in a folder of this user's alone. Nothing else comes here.

A main script is imported by the workers, as ``multiprocessing`` does it. What has no file (a notebook, an
interactive interpreter, ``python -c``, a script on stdin) cannot be imported, so its classes and
functions, and the types that it has registered, travel by value, with cloudpickle.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing import spawn
from typing import Any

from zturbo.errors import StartError, UsageError
from zturbo.options import Options
from zturbo.runtime.boot import split_path
from zturbo.runtime.code.theirs import find_theirs
from zturbo.stage import Stage
from zturbo.task import Task
from zturbo.wire.extensions import register, registered

__all__ = [
    "CallStage",
    "pack_call",
    "pack_stage",
    "refuse_in_child",
    "unpack_result",
    "unpack_stage",
]

_MAIN_FILE = ("init_main_from_name", "init_main_from_path")
_MAIN = ("sys_path", "sys_argv", "orig_dir", "dir", *_MAIN_FILE)

_state: dict[str, dict[str, Any] | None] = {"main": None}
"""``main``: in a child, how it found what its parent runs."""


def refuse_in_child(what: str) -> None:
    """Raise RuntimeError in a worker that imports the main script: it would start workers without an end."""
    if _state["main"] is not None:
        raise RuntimeError(
            f"{what} is started while a worker imports the main script: put what starts it under "
            "if __name__ == '__main__':"
        )


def _main() -> dict[str, Any]:
    """How a child is to find what this process, or its parent, runs; without a file if there is none."""
    if _state["main"] is not None:
        return _state["main"]
    data: dict[str, Any] = spawn.get_preparation_data("zturbo")
    if not os.path.isfile(data.get("init_main_from_path", "")):  # "<stdin>" is none
        data.pop("init_main_from_path", None)
    return {name: data[name] for name in _MAIN if name in data}


def _has_file() -> bool:
    return any(name in _main() for name in _MAIN_FILE)


def _dumps(value: Any) -> bytes:
    if _has_file():
        return pickle.dumps(value)
    import cloudpickle

    return cloudpickle.dumps(value)  # type: ignore[no-any-return]


def pack_stage(stage: Stage) -> bytes:
    """A stage object, how to find the script that defines its class, and this process's options.

    Raises:
        UsageError: it cannot be pickled; it says what to do.
    """
    try:
        types = [] if _has_file() else [entry for entry in registered() if entry[0].__module__ == "__main__"]
        return pickle.dumps((_main(), Options.as_dict(), _dumps(types), _dumps(stage)))
    except Exception as error:  # pickle raises whatever the object's own code raises
        raise UsageError(
            f"stage {type(stage).__name__} cannot be sent to its workers: {error}. Make what cannot be "
            "pickled (models, files, locks, lambdas) in init(), which runs in the worker"
        ) from error


def _take_path(path: list[str]) -> None:
    """Import what the parent imports; what it has before Python's own library is the user's."""
    sys.path[:] = path or sys.path
    own, _ = split_path()
    first = min((sys.path.index(entry) for entry in own), default=0)
    here = [os.getcwd()] if os.getcwd() in path else []
    find_theirs([*map(os.path.abspath, sys.path[:first]), *here])


def unpack_stage(raw: bytes) -> Callable[[], Stage]:
    """What makes the stage again, any number of times. Takes over the parent's options.

    Raises:
        StartError: the class is not there once the script is imported.
    """
    main, options, types, pickled = pickle.loads(raw)
    _state["main"] = main
    Options.update(options)
    _take_path(main.get("sys_path", []))
    spawn.prepare({name: value for name, value in main.items() if name != "sys_path"})
    for entry in pickle.loads(types):
        register(*entry)

    def build() -> Stage:
        try:
            stage: Stage = pickle.loads(pickled)
        except AttributeError as error:
            script = main.get("init_main_from_path") or main.get("init_main_from_name")
            if script is None or ("__main__" not in str(error) and "__mp_main__" not in str(error)):
                raise
            raise StartError(
                f"{error}: workers import {script}, and it is not there then. Define stages at the script's "
                "top level, not under if __name__ == '__main__': and not inside functions"
            ) from error
        return stage

    return build


class CallStage(Stage):
    """One call of a function for each task; content and result travel pickled.

    Args:
        call: the function, packed by :func:`pack_call`.
        num_worker: how many processes.
    """

    def __init__(self, call: bytes, num_worker: int) -> None:
        super().__init__()
        self.num_worker = num_worker
        self._packed = call

    def init(self, worker_id: int = 0) -> None:
        """Load the function."""
        super().init(worker_id)
        self._call: Callable[[Any], Any] = pickle.loads(self._packed)

    def process(self, task: Task) -> Task:
        """Call it; what it raises is a result too."""
        try:
            value = (True, self._call(pickle.loads(task.content)))
        except Exception as error:  # it is raised again where the results are read
            value = (False, error)
        return Task(_dumps(value))


def pack_call(value: Any) -> bytes:
    """A function, or the argument of one call.

    Raises:
        UsageError: it cannot be pickled.
    """
    try:
        return _dumps(value)
    except Exception as error:  # pickle raises whatever the object's own code raises
        raise UsageError(f"process_map: {value!r:.80} cannot be sent to another process: {error}") from error


def unpack_result(raw: bytes) -> tuple[bool, Any]:
    """Whether a call returned, and what it returned or raised."""
    returned, value = pickle.loads(raw)
    return bool(returned), value
