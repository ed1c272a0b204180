"""Paths of a sequencer's tree, and how much waits in it."""

from __future__ import annotations

import pytest

from zturbo.core.order.tree import NOTHING, TASKS, Buffered, Node, full_path, is_touched, weight_of
from zturbo.errors import DecodeError
from zturbo.wire.messages import MAX_DEPTH


def chain(*indices: int) -> list[Node]:
    """A root and a node below each other for each index."""
    nodes = [Node(None, 0)]
    for index in indices:
        nodes.append(Node(nodes[-1], index))
        nodes[-2].kids[index] = nodes[-1]
    return nodes


def test_a_path_leaves_out_the_root_above_all() -> None:
    assert [node.path() for node in chain(0, 4, 2)[1:]] == [(), (4,), (4, 2)]


@pytest.mark.parametrize("path", [(0,) * (MAX_DEPTH + 1), (-1,), ("a",), (1.0,), (True,)])
def test_a_path_that_no_task_has_is_refused(path: tuple[int, ...]) -> None:
    with pytest.raises(DecodeError):
        full_path(path)
    assert full_path((5, 0)) == (0, 5, 0)


def test_weight_counts_tasks_and_failures_at_all_depths() -> None:
    top, middle, low = chain(0, 1)
    low.buffered[3] = Buffered(TASKS, 7, None, 0)
    low.buffered[9] = Buffered(NOTHING, 1, None, 0)
    middle.failed, middle.fail = True, b"why"
    low.tries = {0: Node(low, 0)}
    low.tries[0].buffered[0] = Buffered(TASKS, 2, None, 0)
    assert weight_of(top) == 7 + 1 + 2


def test_touched_is_a_node_of_which_the_first_descendant_was_released() -> None:
    top, _, low = chain(0, 0)
    assert not is_touched(top)
    low.cursor = 1
    assert is_touched(top)
