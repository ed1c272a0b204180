"""The sequencer of one job: takes all of its items in any order, drops copies, releases in order.

A job is a tree of paths. Each path has one of three items: a task (a leaf); an END with ``count`` children,
``path + (0,) .. path + (count - 1,)``; a FAIL after ``count`` children, which are results
all the same.
The order of release is depth first, and a failure comes after its children.

Items come as runs of siblings. Each path whose children are not all released has a node. The node knows which
children have wholly entered (as intervals), and buffers runs that wait for their turn. It forgets released
runs. So the next run in order costs the same whether it has one task or a thousand. Memory is taken by
open nodes, gaps and waiting runs alone. Without an order no item waits for another, and a node is there only
until all of its children have entered.

A component of :data:`EXECUTION` or more names one execution of the task above it, at a stage that is not
deterministic. Such a task has one child: the first execution that is complete becomes child 0, and the others
are dropped. Until then nothing of the task is released.

The first item for a path wins: items for a closed path are dropped. A path may be closed with fewer children
than have entered. Then the children beyond its count are dropped, except those that are released already.
Released items are never taken back, so the count is raised to include them.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

from zturbo.core.order.intervals import Intervals
from zturbo.core.order.tree import (
    EXECUTION,
    FAIL,
    NOTHING,
    TASKS,
    Buffered,
    Node,
    Released,
    full_path,
    is_touched,
    weight_of,
)
from zturbo.errors import DecodeError
from zturbo.wire.messages import MAX_INT, Path

__all__ = ["Sequencer"]


class Sequencer:
    """All items of one job, at one ordered stage or at the sink.

    Args:
        ordered: release by path; else in the order in which items enter. Both drop copies and know when the
            job is complete.
    """

    def __init__(self, *, ordered: bool = True) -> None:
        self.ordered = ordered
        # The job's root path () is child 0 of a node above it, so that a root may be a leaf too.
        self._top = Node(None, 0)
        self._top.count = 1
        self._at = self._top
        self._ready: deque[Released] = deque()
        self.buffered = 0
        """Tasks and failures that have entered and are not released."""
        self.released = 0
        """Tasks and failures that were released."""
        self.failed = 0
        """Failures among them."""
        self.finished = False
        """Whether all is released, and nothing more can enter."""
        self._tagged = False
        """Whether any path has named an execution."""
        self.nondeterministic: str | None = None
        """A sentence, once two executions of one task gave different fan-outs."""

    def begin_at(self, root: int) -> None:
        """Begin with this root: all that came of those before it was released elsewhere.

        Only for a job whose roots are numbered, before anything has entered.
        """
        node = self._at = self._top.kids[0] = Node(self._top, 0)
        node.cursor = root
        node.done.add(0, root)

    # -- entering -----------------------------------------------------------------------------
    def enter_run(self, first: Path, n: int, item: Any, offset: int = 0) -> int:
        """Take n sibling tasks.

        Args:
            first: path of the first.
            n: how many there are.
            item: the caller's object that has them, such as their batch.
            offset: index of the first among the item's tasks.

        Returns:
            How many of them are new.

        Raises:
            DecodeError: no correct sender sends such tasks.
        """
        full = full_path(first)
        if n < 1 or (n > 1 and not first):
            raise DecodeError(f"a run of {n} tasks at {first}")
        node = self._find(full)
        if node is None:
            return 0
        if full[-1] >= EXECUTION:
            if n > 1:
                raise DecodeError(f"a run of {n} executions at {first}")
            return self._won(node, full[-1], Buffered(TASKS, 1, item, offset))
        start = full[-1]
        stop = start + n if node.count is None else min(start + n, node.count)
        taken = 0
        for low, high in node.done.missing(start, stop):
            for a, b in self._around_kids(node, low, high) if node.kids else ((low, high),):
                node.done.add(a, b)
                self._buffer(node, a, Buffered(TASKS, b - a, item, offset + a - start))
                taken += b - a
        if taken:
            self._closed(node)
        return taken

    def enter_end(self, path: Path, count: int, item: Any = None) -> bool:
        """Close a path with ``count`` children. Returns whether that is new."""
        return self._close(path, count, False, item)

    def enter_fail(self, path: Path, count: int, item: Any) -> bool:
        """Close a path by a failure after ``count`` children. Returns whether that is new."""
        return self._close(path, count, True, item)

    def _find(self, full: Path) -> Node | None:
        """The node above the last component, made if need be; None if its path is closed already."""
        node = self._top
        for component in full[:-1]:
            if component in node.done:
                buffered = node.buffered.get(component)
                if buffered is not None and buffered.kind == TASKS:
                    self._blame((*node.path(), component), "gave one task, and then children")
                return None
            if component >= EXECUTION:
                if node.count is not None:
                    return None  # another execution has won, or the task has failed
                self._tagged = True
                if node.tries is None:
                    node.tries = {}
                kid = node.tries.get(component)
                if kid is None:
                    kid = node.tries[component] = Node(node, component)
                node = kid
                continue
            if node.count is not None and component >= node.count:
                return None
            kid = node.kids.get(component)
            if kid is None:
                kid = node.kids[component] = Node(node, component)
            node = kid
        return node

    def _won(self, node: Node, execution: int, leaf: Buffered | None) -> int:
        """An execution is complete. Returns 1 if it is the first: then it becomes the task's one child."""
        if node.count is not None:
            return 0
        tries, node.tries = node.tries or {}, None
        winner = tries.pop(execution, None)
        for loser in tries.values():
            self.buffered -= weight_of(loser)
        node.count = 1
        node.done.add(0, 1)
        if leaf is not None:
            self._buffer(node, 0, leaf)
        elif winner is not None:
            winner.index = 0
            if self.ordered:
                node.kids[0] = winner
            else:
                self._let_go(winner)
        self._closed(node)
        return 1

    def _let_go(self, node: Node) -> None:
        """Release the items of an execution that has won. It has buffered them, though there is no order."""
        for index, buffered in sorted(node.buffered.items()):
            if buffered.kind != NOTHING:
                self.buffered -= buffered.n
                self._buffer(node, index, buffered)
        for _, kid in sorted(node.kids.items()):
            self._let_go(kid)
        if node.failed and node.fail is not None:
            self.buffered -= 1
            self._buffer_failure(node.path(), node.fail)

    def _undecided(self, node: Node) -> bool:
        """Whether this node is in an execution that has not won."""
        at: Node | None = node
        while at is not None:
            if at.index >= EXECUTION:
                return True
            at = at.parent
        return False

    def _around_kids(self, node: Node, low: int, high: int) -> list[tuple[int, int]]:
        """The parts of a new run of tasks that may enter: a path that has had children is no task."""
        out = []
        for index in sorted(index for index in node.kids if low <= index < high):
            kid = node.kids[index]
            if kid.blank:
                del node.kids[index]
                if self._at is kid:
                    self._at = node
                continue
            self._blame((*node.path(), index), "gave children, and then one task")
            if low < index:
                out.append((low, index))
            low = index + 1
        if low < high:
            out.append((low, high))
        return out

    def _buffer(self, node: Node, index: int, buffered: Buffered) -> None:
        if self.ordered or (self._tagged and self._undecided(node)):
            node.buffered[index] = buffered
            if buffered.kind != NOTHING:
                self.buffered += buffered.n
        elif buffered.kind != NOTHING:
            self.buffered += buffered.n
            path = (*node.path(), index) if node.parent is not None else ()
            self._ready.append(Released(buffered.kind, path, buffered.n, buffered.item, buffered.offset))  # type: ignore[arg-type]

    def _close(self, path: Path, count: int, failed: bool, item: Any) -> bool:
        full = full_path(path)
        if type(count) is not int or count < 0:
            raise DecodeError(f"path {path} is closed with {count!r} children")
        parent = self._find(full)
        if parent is None:
            return False
        index = full[-1]
        if index >= EXECUTION:
            return self._close_execution(parent, index, count, failed, item)
        if parent.count is not None and index >= parent.count:
            return False
        kid = parent.kids.get(index)
        if kid is None or (kid.blank and count == 0):
            if index in parent.done:
                buffered = parent.buffered.get(index)
                if buffered is not None and buffered.kind == TASKS and count and not failed:
                    self._blame(path, "gave one task, and then children")
                return False
            if count == 0:
                if kid is not None:
                    del parent.kids[index]
                    if self._at is kid:
                        self._at = parent
                parent.done.add(index, index + 1)
                self._buffer(parent, index, Buffered(FAIL if failed else NOTHING, 1, item, 0))
                self._closed(parent)
                return True
            kid = parent.kids[index] = Node(parent, index)
        if kid.count is not None:
            if not failed and not kid.failed and kid.count != count:
                self._blame(path, f"gave {kid.count} children, and then {count}")
            return False
        self._shorten(kid, count, failed, path)
        if failed:
            kid.failed = True
            if self.ordered or (self._tagged and self._undecided(kid)):
                kid.fail = item
                self.buffered += 1
            else:
                self._buffer_failure(path, item)
        self._closed(kid)
        return True

    def _close_execution(self, task: Node, execution: int, count: int, failed: bool, item: Any) -> bool:
        if task.count is not None:
            return False
        self._tagged = True
        if task.tries is None:
            task.tries = {}
        node = task.tries.get(execution)
        if node is None:
            node = task.tries[execution] = Node(task, execution)
        if node.count is not None:
            return False
        node.count = count
        if failed:
            node.failed, node.fail = True, item
            self.buffered += 1
        self._closed(node)
        return True

    def _buffer_failure(self, path: Path, item: Any) -> None:
        self.buffered += 1
        self._ready.append(Released(FAIL, path, 1, item, 0))  # type: ignore[arg-type]

    def _shorten(self, node: Node, count: int, failed: bool, path: Path) -> None:
        """Close a node: drop its children from ``count`` on, if they are not released."""
        current = node.kids.get(node.cursor)
        floor = node.cursor + (current is not None and is_touched(current))
        if self.ordered and floor > count:
            if not failed:
                self._blame(path, f"gave at least {floor} children, and then {count}")
            count = floor
        node.count = count
        for loser in (node.tries or {}).values():
            self.buffered -= weight_of(loser)
        node.tries = None
        beyond = [index for index in node.kids if index >= count]
        over = [start for start, buffered in node.buffered.items() if start + buffered.n > count]
        if (beyond or over) and not failed:
            self._blame(path, f"gave more than {count} children, and then {count}")
        for index in beyond:
            kid = node.kids.pop(index)
            self.buffered -= weight_of(kid)
            if self._within(kid):
                self._at = node
        for start in over:
            buffered = node.buffered.pop(start)
            keep = max(0, count - start)
            if buffered.kind != NOTHING:
                self.buffered -= buffered.n - keep
            if keep:
                node.buffered[start] = buffered._replace(n=keep)
        node.done.cut(count)

    def _within(self, node: Node) -> bool:
        at: Node | None = self._at
        while at is not None:
            if at is node:
                return True
            at = at.parent
        return False

    def _closed(self, node: Node) -> None:
        """If a node has wholly entered, tell its parent, and so on upwards."""
        while node.count is not None and node.parent is not None and node.done.covers(node.count):
            parent = node.parent
            if node.index >= EXECUTION:
                self._won(parent, node.index, None)
                return
            parent.done.add(node.index, node.index + 1)
            if not self.ordered and not (self._tagged and self._undecided(parent)):
                del parent.kids[node.index]
            node = parent

    def _blame(self, path: Path, what: str) -> None:
        if self.nondeterministic is None:
            where = ".".join(map(str, path)) or "the root"
            self.nondeterministic = (
                f"the task at {where} {what}: its stage gives different outputs when it is run again; "
                "make it deterministic"
            )

    # -- releasing ----------------------------------------------------------------------------
    def pop(self, limit: int, *, before_failure: bool = False) -> list[Released]:
        """Release the next items.

        Args:
            limit: tasks and failures at most.
            before_failure: stop before the first failure, if there is an order.
        """
        out: list[Released] = []
        if not self.ordered:
            while self._ready and limit > 0:
                piece = self._ready.popleft()
                if piece.n > limit:
                    path = (*piece.path[:-1], piece.path[-1] + limit)
                    rest = piece._replace(path=path, n=piece.n - limit, offset=piece.offset + limit)
                    self._ready.appendleft(rest)
                    piece = piece._replace(n=limit)
                limit -= piece.n
                self._release(out, piece)
            self.finished = self.complete and not self._ready
            return out
        node = self._at
        while limit > 0 and not self.finished:
            buffered = node.buffered.get(node.cursor)
            if before_failure and (buffered.kind == FAIL if buffered is not None else self._fails_next(node)):
                break
            if buffered is not None:
                limit -= self._release_buffered(out, node, buffered, limit)
                continue
            if node.count is not None and node.cursor >= node.count:
                if node.failed and node.fail is not None:
                    limit -= 1
                    fail, node.fail = node.fail, None
                    self._release(out, Released("fail", node.path(), 1, fail, node.count))
                parent = node.parent
                if parent is None:
                    self.finished = True
                    break
                del parent.kids[node.index]
                parent.cursor = node.index + 1
                node = parent
                continue
            kid = node.kids.get(node.cursor)
            if kid is None:
                break
            node = kid
        self._at = node
        return out

    def _fails_next(self, node: Node) -> bool:
        return node.fail is not None and node.count is not None and node.cursor >= node.count

    def failures(self) -> int:
        """Failures that have entered and are not released."""
        count, todo = 0, [self._top]
        while todo:
            node = todo.pop()
            todo.extend(node.kids.values())
            count += node.fail is not None
            count += sum(buffered.kind == FAIL for buffered in node.buffered.values())
        return count + sum(piece.kind == FAIL for piece in self._ready)

    def _release_buffered(self, out: list[Released], node: Node, buffered: Buffered, limit: int) -> int:
        """Release up to ``limit`` tasks that are next at a node. Returns how many."""
        index = node.cursor
        del node.buffered[index]
        if buffered.kind == NOTHING:
            node.cursor += 1
            return 0
        take = min(buffered.n, limit)
        if take < buffered.n:
            rest = buffered._replace(n=buffered.n - take, offset=buffered.offset + take)
            node.buffered[index + take] = rest
        node.cursor += take
        path = (*node.path(), index) if node.parent is not None else ()
        kind: Literal["tasks", "fail"] = "fail" if buffered.kind == FAIL else "tasks"
        self._release(out, Released(kind, path, take, buffered.item, buffered.offset))
        return take

    def _release(self, out: list[Released], piece: Released) -> None:
        self.buffered -= piece.n
        self.released += piece.n
        if piece.kind == "fail":
            self.failed += 1
        elif out:
            last = out[-1]
            if (
                last.item is piece.item
                and last.kind == "tasks"
                and last.offset + last.n == piece.offset
                and last.path
                and piece.path == (*last.path[:-1], last.path[-1] + last.n)
            ):
                out[-1] = last._replace(n=last.n + piece.n)
                return
        out.append(piece)

    # -- state --------------------------------------------------------------------------------
    @property
    def complete(self) -> bool:
        """Whether every path has entered and is ended."""
        return self._top.done.covers(1)

    def entered(self) -> list[tuple[int, int]]:
        """The roots that have wholly entered, as half-open intervals. A single root has the number -1."""
        if self.complete:
            return [(-1, MAX_INT)]
        top = self._top.kids.get(0)
        return [] if top is None else top.done.pairs()

    @property
    def drained(self) -> bool:
        """Whether the job is complete and all is released."""
        return self.finished or (self.complete and not self.buffered and self._walked_out())

    def _walked_out(self) -> bool:
        if self.ordered and not self.finished:
            self.pop(1)  # nothing is buffered: this only walks over ends
        return self.finished or not self.ordered

    def keep_prefix(self) -> None:
        """Begin a new epoch: forget all items that are not released, since all of the job may enter again.

        Items of the released prefix are then dropped as copies. Without an order the sequencer forgets
        nothing, and drops each item that has entered before.
        """
        if not self.ordered or self.finished:
            return
        chain = [self._at]
        while chain[-1].parent is not None:
            chain.append(chain[-1].parent)
        below: Node | None = None
        for node in chain:
            node.buffered.clear()
            node.tries = None
            node.kids = {} if below is None else {below.index: below}
            node.done = Intervals()
            if node.cursor:
                node.done.add(0, node.cursor)
            if node.parent is not None:
                node.count, node.failed, node.fail = None, False, None
            below = node
        self.buffered = 0
        self.nondeterministic = None

    @property
    def nodes(self) -> int:
        """Open nodes, the topmost included."""
        count, todo = 0, [self._top]
        while todo:
            node = todo.pop()
            count += 1
            todo.extend([*node.kids.values(), *(node.tries or {}).values()])
        return count

    def check(self) -> None:
        """Assert every invariant."""
        weight = 0
        todo = [self._top]
        while todo:
            node = todo.pop()
            todo.extend([*node.kids.values(), *(node.tries or {}).values()])
            node.done.check()
            assert all(kid.parent is node and kid.index == i for i, kid in node.kids.items())
            assert all(kid.parent is node for kid in (node.tries or {}).values())
            assert not self.ordered or node.done.prefix >= node.cursor
            for start, buffered in node.buffered.items():
                assert start >= node.cursor and buffered.n >= 1
                assert not node.done.missing(start, start + buffered.n)
        weight = weight_of(self._top) + sum(piece.n for piece in self._ready)
        assert weight == self.buffered, (weight, self.buffered)
