"""Runs a failed task again, here, with the input that its stage got: so that it can be looked into.

Nothing is sent: the job, its workers and its results stay as they are. The stage's code is the one on this
host. It is found in a network file of the working directory, or given by the caller; a broker does not say
what is imported here.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from zturbo.api.stage import Stage
from zturbo.api.stage_kinds import FunctionStage
from zturbo.api.task import Task
from zturbo.checks import wrong
from zturbo.deploy.network import Network, StageSpec
from zturbo.errors import NetworkFileError, UsageError
from zturbo.hardware.resources import Resources
from zturbo.runtime.code.importing import build_stage, load_class

__all__ = ["Again", "Code", "stage_of"]

Code = Stage | type[Stage] | Callable[..., Any] | str | PathLike[str]
"""The code of a stage: a stage, its class, a function, ``module:Class``, or a network file that has it."""

EXPECTED = "a stage, its class, a function, 'module:Class', or the path of a network file"


def stage_of(name: str, index: int, code: Code | None = None, *, pipeline: str | None = None) -> Again:
    """The stage, made anew. In a ``with`` statement its ``init()`` and ``reset()`` are called, as for a job.

    Args:
        name: of the stage that failed.
        index: of the stage in its pipeline.
        code: where its code is; None for the only network file of the working directory that has the stage.
        pipeline: its pipeline's name; None if it is not known.

    Raises:
        UsageError: there is no such code, or there is more than one.
        StartError: its module cannot be imported.
    """
    return Again(_made(name, index, code, pipeline))


class Again:
    """A stage that runs here, and begins with its first task; close it.

    Args:
        stage: the stage.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._loop: asyncio.AbstractEventLoop | None = None
        """For a stage that is ``async def``: one for all that it does, as in a worker."""

    def __enter__(self) -> Again:
        self._settle(self._stage.init(0))
        self._settle(self._stage.reset())
        return self

    def __exit__(self, *exc: object) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _settle(self, given: Any) -> Any:
        """A value, or what a coroutine returns."""
        if not isinstance(given, Awaitable):
            return given
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(_one(given))

    def run(self, task: Task) -> list[Task]:
        """Run a task; returns its outputs. What the code raises comes as it was raised, with its frames."""
        given = self._stage.process(task)
        if isinstance(given, AsyncIterable):
            given = self._settle(_all(given))
        given = self._settle(given)
        if given is None:
            return []
        if isinstance(given, Task):
            return [given]
        if isinstance(given, (str, bytes, dict)) or not isinstance(given, Iterable):
            name = f"{type(self._stage).__name__}.process returned a {type(given).__name__}"
            raise TypeError(f"{name}; it is to return a Task, an iterable of Tasks, or None")
        return list(given)


def _made(name: str, index: int, code: Code | None, pipeline: str | None) -> Stage:
    if isinstance(code, Stage):
        return copy.deepcopy(code)
    if isinstance(code, type) and issubclass(code, Stage):
        return build_stage(code, {}, Resources())
    if isinstance(code, str) and ":" in code and not Path(code).exists():
        return build_stage(load_class(code), {}, Resources())
    if isinstance(code, (str, PathLike)):
        path = str(code)
        found = _stages(Network.load(path), name, index, pipeline)
        if len(found) != 1:
            raise UsageError(_not_one(found, name, pipeline, path))
        return _of_spec(found[0])
    if code is not None:
        if isinstance(code, type) or not callable(code):
            raise wrong("replay: stage", code, EXPECTED)
        return FunctionStage(code)
    return _of_spec(_here(name, index, pipeline))


def _of_spec(spec: StageSpec) -> Stage:
    if spec.stage is not None:
        return copy.deepcopy(spec.stage)
    return build_stage(load_class(spec.cls), spec.args, Resources())


def _stages(network: Network, name: str, index: int, pipeline: str | None) -> list[StageSpec]:
    """The stages of this name at this place of a pipeline."""
    return [
        one.stages[index]
        for one in network.pipelines
        if pipeline in (None, one.name) and index < len(one.stages) and one.stages[index].name == name
    ]


def _not_one(found: list[StageSpec], name: str, pipeline: str | None, where: str) -> str:
    stage = f"{pipeline}.{name}" if pipeline else name
    if not found:
        return f"{where} has no stage {stage} where the task failed; name the file that has it, or its class"
    return f"{where} has {len(found)} stages {name}: name the class of the one that is meant"


def _here(name: str, index: int, pipeline: str | None) -> StageSpec:
    """The stage in the only network file of the working directory that has it."""
    found: dict[str, StageSpec] = {}
    for path in sorted(Path.cwd().glob("*.toml"))[:100]:
        try:
            stages = _stages(Network.load(path), name, index, pipeline)
        except NetworkFileError:
            continue  # such as a pyproject.toml
        if len(stages) > 1:
            raise UsageError(_not_one(stages, name, pipeline, path.name))
        if stages:
            found[path.name] = stages[0]
    if len({(spec.cls, str(spec.args)) for spec in found.values()}) == 1:
        return next(iter(found.values()))
    stage = f"{pipeline}.{name}" if pipeline else name
    if found:
        raise UsageError(f"{' and '.join(found)} have a stage {stage}, with other code each: name the file")
    raise UsageError(
        f"no network file in {Path.cwd()} has the stage {stage}: name the file, or the code as "
        "'module:Class'; in Python, replay(stage) takes the stage itself"
    )


async def _all(given: AsyncIterable[Task]) -> list[Task]:
    return [task async for task in given]


async def _one(given: Awaitable[Any]) -> Any:
    return await given
