"""The tree of a sequencer: a node for each path whose children are not all released.

Without an order, a path has a node only until all of its children have entered.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from zturbo.core.order.intervals import Intervals
from zturbo.errors import DecodeError
from zturbo.wire.messages import MAX_DEPTH, Path

__all__ = [
    "BEFORE_ID",
    "EXECUTION",
    "FAIL",
    "NOTHING",
    "TASKS",
    "Buffered",
    "Node",
    "Released",
    "full_path",
    "is_touched",
    "weight_of",
]

EXECUTION = 1 << 60
"""Components from here on name executions of one task, at a stage that is not deterministic."""

BEFORE_ID = EXECUTION - 1
"""Stands for a task's number in an ordered stage while ``get_sequence_id`` runs, which decides the number."""

TASKS, FAIL, NOTHING = "tasks", "fail", "nothing"


class Released(NamedTuple):
    """Items that are released together: n siblings, or one failure."""

    kind: Literal["tasks", "fail"]
    path: Path
    """Of the first."""
    n: int
    item: Any
    offset: int
    """Index of the first task in the item; of a failure, how many children its task had given."""


class Buffered(NamedTuple):
    """Items that wait for their turn together: n siblings, or one failure, or one drop (``NOTHING``)."""

    kind: str
    n: int
    item: Any
    offset: int


class Node:
    """A path whose children are not all released; without an order, not all entered."""

    __slots__ = ("buffered", "count", "cursor", "done", "fail", "failed", "index", "kids", "parent", "tries")

    def __init__(self, parent: Node | None, index: int) -> None:
        self.parent = parent
        self.index = index
        self.cursor = 0
        """Children below this index are released. Always 0 without an order."""
        self.count: int | None = None
        """How many children it has; None until its END or FAIL has entered."""
        self.failed = False
        self.fail: Any = None
        """The failure that is to be released after the children."""
        self.done = Intervals()
        """Children that have wholly entered."""
        self.buffered: dict[int, Buffered] = {}
        self.kids: dict[int, Node] = {}
        self.tries: dict[int, Node] | None = None
        """If the task's stage is not deterministic: its executions, none of which is complete."""

    @property
    def blank(self) -> bool:
        """Whether nothing has entered at or below it: it was only made on the way to a path."""
        return self.count is None and not self.done and not self.kids and not self.tries

    def path(self) -> Path:
        """Its path, without the component for the topmost node."""
        out: list[int] = []
        node: Node = self
        while node.parent is not None:
            out.append(node.index)
            node = node.parent
        return tuple(reversed(out[:-1]))


def full_path(path: Path) -> Path:
    """A path with the component for the topmost node. Raises DecodeError if it is no path."""
    if len(path) > MAX_DEPTH:
        raise DecodeError(f"a path of {len(path)} components")
    for component in path:
        if type(component) is not int or component < 0:
            raise DecodeError("a path with a component that is no number")
    return (0, *path)


def weight_of(node: Node) -> int:
    """Tasks and failures that are buffered at and below a node."""
    weight, todo = 0, [node]
    while todo:
        node = todo.pop()
        todo.extend([*node.kids.values(), *(node.tries or {}).values()])
        weight += node.failed and node.fail is not None
        weight += sum(buffered.n for buffered in node.buffered.values() if buffered.kind != NOTHING)
    return weight


def is_touched(node: Node) -> bool:
    """Whether anything at or below a node was released."""
    while True:
        if node.cursor:
            return True
        kid = node.kids.get(0)
        if kid is None:
            return False
        node = kid
