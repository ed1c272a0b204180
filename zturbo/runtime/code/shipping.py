"""Python objects of a ``System`` on their way to its own children, and of ``process_map`` there and back.

No other module uses pickle. A parent sends stages to a child that it has just started, over the child's
stdin. The calls of :func:`zturbo.process_map` and their results go between this process and its own
children, over ipc sockets in a folder that no other user can enter. Nothing else is unpickled.

Workers import a main script as ``multiprocessing`` does. A notebook, an interactive interpreter,
``python -c`` and a script on stdin have no file to import. So their classes, functions and registered types
travel by value, with cloudpickle.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing import spawn
from typing import Any, NamedTuple

from zturbo.api.options import Options
from zturbo.api.stage import Stage
from zturbo.api.task import Task
from zturbo.errors import StartError, TaskError, UsageError
from zturbo.errortext import error_text, message_of, safe_repr, traceback_text
from zturbo.runtime.code.theirs import find_theirs
from zturbo.runtime.process.boot import split_path
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

_state: dict[str, Any] = {"main": None, "importing": False}
"""``main``: in a child, how it found its parent's script. ``importing``: whether it is importing that now."""


def refuse_in_child(what: str) -> None:
    """Raise RuntimeError in a worker that imports the main script: it would start workers without an end."""
    if _state["importing"]:
        raise RuntimeError(
            f"{what} is started while a worker imports the main script: put what starts it under "
            "if __name__ == '__main__':"
        )


def _main() -> dict[str, Any]:
    """How a child is to find the script of this process or of its parent, if that is a file."""
    if (main := _state["main"]) is not None:
        return main  # type: ignore[no-any-return]
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
        UsageError: the stage cannot be pickled; the error says what to do.
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
    """Import from the parent's folders; those before Python's own library are the user's."""
    sys.path[:] = path or sys.path
    own, _ = split_path()
    first = min((sys.path.index(entry) for entry in own), default=0)
    here = [os.getcwd()] if os.getcwd() in path else []
    find_theirs([*map(os.path.abspath, sys.path[:first]), *here])


def unpack_stage(raw: bytes) -> Callable[[], Stage]:
    """Take over the parent's options. Returns a function that makes the stage, any number of times.

    Raises:
        StartError: the imported script has no such class.
    """
    main, options, types, pickled = pickle.loads(raw)
    _state["main"] = main
    Options.update(options)
    _take_path(main.get("sys_path", []))
    _state["importing"] = True
    try:
        spawn.prepare({name: value for name, value in main.items() if name != "sys_path"})
    finally:
        _state["importing"] = False
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
        """Call the function; an exception that it raises is a result too."""
        try:
            value = self._call(pickle.loads(task.content))
        except (Exception, SystemExit) as error:  # it is raised again where the results are read
            return Task(_pack_raised(error))
        try:
            return Task(_dumps((True, value, "")))
        except Exception as error:  # pickle raises whatever the object's own code raises
            text = f"process_map: a result, {safe_repr(value)}, cannot be sent back: {error_text(error)}"
            return Task(_pack_raised(UsageError(text)))


def pack_call(value: Any) -> bytes:
    """A function, or the argument of one call.

    Raises:
        UsageError: it cannot be pickled.
    """
    try:
        return _dumps(value)
    except Exception as error:  # pickle raises whatever the object's own code raises
        raise UsageError(
            f"process_map: {safe_repr(value)} cannot be sent to another process: {error_text(error)}"
        ) from error


def _pack_raised(error: BaseException) -> bytes:
    """The exception of a call, as whole as it can be sent, and its traceback as text."""
    trace = traceback_text(error)
    bare = _Bare(type(error), error.args, dict(vars(error)))
    shown = _Bare(type(error), tuple(map(_sendable, bare.args)), _each_sendable(bare.attributes))
    for form in (error, bare, shown):
        try:
            raw = _dumps((False, form, trace))
            again = _raised(pickle.loads(raw)[1])
            if type(again).__name__ == type(error).__name__ and message_of(again) == message_of(error):
                return raw
        except Exception:  # the exception's own code, or what it holds: the next form has less of it
            continue
    return _dumps((False, TaskError(error_text(error), trace), trace))


def _sendable(value: Any) -> Any:
    """The value, or its repr() where it cannot be pickled."""
    try:
        pickle.loads(_dumps(value))
    except Exception:  # pickle raises whatever the object's own code raises
        return safe_repr(value)
    return value


def _each_sendable(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: _sendable(value) for name, value in attributes.items()}


class _Bare(NamedTuple):
    """An exception whose own ``__init__`` is not called again, with its arguments and attributes."""

    kind: type[BaseException]
    args: tuple[Any, ...]
    attributes: dict[str, Any]


def _raised(form: BaseException | _Bare) -> BaseException:
    if isinstance(form, BaseException):
        return form
    error = form.kind.__new__(form.kind, *form.args)
    error.args = form.args
    vars(error).update(form.attributes)
    return error


def unpack_result(raw: bytes) -> Any:
    """What a call returned.

    Raises:
        BaseException: what the call raised, of its type and text, caused by its traceback in the worker.
    """
    returned, value, trace = pickle.loads(raw)
    if returned:
        return value
    error = _raised(value)
    error.__cause__ = RemoteTraceback(trace)
    raise error


class RemoteTraceback(Exception):
    """The traceback of a call in another process, shown as the cause of the call's exception."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
