"""The name of a pipeline, with the types of its contents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from zturbo.api.stage import In, Out

__all__ = ["Pipeline", "PipelineName", "name_of"]

if TYPE_CHECKING:

    class Pipeline(Generic[In, Out]):  # no str here, or a checker would take it where it takes any name
        """See below."""

        def __init__(self, name: str) -> None: ...

    PipelineName = str | Pipeline[Any, Any]
else:
    PipelineName = str

    class Pipeline(str, Generic[In, Out]):
        """The name of a pipeline. It tells a type checker the types of the contents that go in and come out.

        ``video = Pipeline[Path, Track]("video")`` can be given wherever a pipeline's name can. The results
        of ``client.map(paths, video)`` are of type Track then, and contents of another type than Path are
        an error. Nothing is checked when a program runs: the stages are in other processes.
        """

        __slots__ = ()


def name_of(pipeline: PipelineName) -> str:
    """The name alone. A value of another type is returned as it is, for the checks of arguments."""
    name: str = str.__str__(pipeline) if type(pipeline) is Pipeline else pipeline  # type: ignore
    return name
