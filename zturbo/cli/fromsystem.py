"""Makes a network of a ``System`` class, so that commands take the class in place of a network file."""

from __future__ import annotations

import re
from pathlib import Path

from zturbo.deploy.network import BrokerSpec, Network, PipelineSpec, StageSpec
from zturbo.errors import UsageError
from zturbo.runtime.code.importing import load_object

__all__ = ["is_system_name", "network_of"]

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


def is_system_name(text: str) -> bool:
    """Whether a text has the form ``module:SystemClass``, and no file has that name."""
    return bool(_NAME.match(text)) and not Path(text).exists()


def network_of(name: str) -> Network:
    """The network of a System.

    Each of its pipelines becomes a pipeline of the network. It is named after the class, with a number if
    there are several. Stages are sent to the workers of this host as :class:`zturbo.System` sends them.

    Args:
        name: ``module:SystemClass``; the current directory is on the import path.

    Raises:
        StartError: the module cannot be imported.
        UsageError: the object is not a System class, cannot be made without arguments, or has wrong stages.
    """
    from zturbo.deploy.shipped import MAX_TASK  # a network file needs neither, and both take long to import
    from zturbo.system.system import System

    cls = load_object(name, System)
    if not (isinstance(cls, type) and issubclass(cls, System)):
        raise UsageError(
            f"{name} is not a subclass of zturbo.System; a network file or such a class may stand here"
        )
    try:
        system = cls()
    except TypeError as error:
        raise UsageError(f"{name} cannot be made without arguments: {error}") from error
    try:
        described = system.describe()
    except UsageError:
        raise
    except Exception as error:  # get_stages is the user's code
        raise UsageError(f"{name}: get_stages raised {type(error).__name__}: {error}") from error
    label = cls.__name__
    pipelines = []
    for number, (names, stages) in enumerate(described.values()):
        specs = tuple(
            StageSpec(
                stage_name, f"{type(stage).__module__}:{type(stage).__name__}", stage.num_worker, stage=stage
            )
            for stage_name, stage in zip(names, stages, strict=True)
        )
        pipeline = label if len(described) == 1 else f"{label}-{number}"
        pipelines.append(PipelineSpec(pipeline, specs, logs=True, max_task_bytes=MAX_TASK))
    return Network(label, BrokerSpec(), tuple(pipelines))
