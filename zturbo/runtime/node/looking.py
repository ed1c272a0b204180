"""Looks at children for people: their Python stacks, once or many times.

A look never waits: the node's loop asks it again after some milliseconds, and goes on with its other work.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from zturbo.runtime.process.ringfile import RingFile
from zturbo.runtime.process.running import RunningNote
from zturbo.runtime.process.stackfile import MORE, SIGNAL, StackFile, is_answered
from zturbo.telemetry import stacks
from zturbo.telemetry.seen import Profile, Task, Traced, Traces, Where, pack
from zturbo.telemetry.stacks import Frame
from zturbo.wire.control import from_broker, to_broker

__all__ = ["Looked", "Looking", "wall"]

log = logging.getLogger("zturbo.node")

LOOK_EVERY = 0.005
"""Seconds between two looks whether the stacks are there."""

GIVE_UP = 2.0
"""Seconds in which a process writes its stacks, unless the kernel does not let it run."""

SETTLED = 0.25
"""Seconds without a change after which a text counts as whole, though it does not end as usual."""

SAMPLE_EVERY = 0.02
"""Seconds between two samples of a profile."""

MOST = 100
"""Looks at a time at most."""

DIFFERENT = 20_000
"""Different stacks of a profile at most."""

TASKS = 1000
"""Tasks that are named at most."""

STOPPED = "the process is stopped or waits in the kernel, and answers no signal: see 'cat /proc/{pid}/stack'"
UNANSWERED = "the process does not handle zturbo's signal (yet, or its code has replaced the handler)"
ELSEWHERE = "this node has no such process now: it has ended"


class Looked(Protocol):
    """A process at which a node looks: a child of it, or a worker that is its own node."""

    incarnation: bytes
    info: dict[str, Any]
    """What it has said when it was ready."""
    running_note: RunningNote
    stacks: StackFile
    ring: RingFile

    @property
    def pid(self) -> int: ...

    @property
    def is_worker(self) -> bool: ...

    def signal(self, number: int) -> None: ...


class _Look:
    """One question."""

    def __init__(self, question: from_broker.LookAt, child: Looked, now: float) -> None:
        self.question = question
        self.child = child
        self.began = now
        self.due = now
        self.asked_at: float | None = None
        """When the signal was sent whose answer is awaited."""
        self.more = False
        """Whether other threads and coroutines are awaited, too."""
        self.text = ""
        self.changed_at = now
        self.samples: Counter[tuple[Frame, ...]] = Counter()
        self.missed = 0


class Looking:
    """The looks of a node.

    Args:
        node: id of the node.
        find: incarnation -> the child, and the trace of the one before it; None if there is none.
        say: sends a message to the broker.
    """

    def __init__(
        self,
        node: bytes,
        find: Callable[[bytes], tuple[Looked, Traced | None] | None],
        say: Callable[[to_broker.Seen], None],
    ) -> None:
        self._node = node
        self._find = find
        self._say = say
        self._looks: list[_Look] = []

    def begin(self, question: from_broker.LookAt, now: float) -> None:
        """The broker asks."""
        found = self._find(question.target)
        if found is None:
            self._fail(question.number, ELSEWHERE)
            return
        child, before = found
        if question.kind == "trace":
            self._trace(question, child, before, now)
        elif len(self._looks) >= MOST:
            self._fail(
                question.number, f"this node has {MOST} other looks to take; ask again in some seconds"
            )
        else:
            self._looks.append(_Look(question, child, now))

    def deadline(self) -> float:
        """When :meth:`tick` is due."""
        return min((look.due for look in self._looks), default=math.inf)

    def gone(self, child: Looked) -> None:
        """This child has ended."""
        for look in [look for look in self._looks if look.child is child]:
            self._looks.remove(look)
            self._fail(look.question.number, ELSEWHERE)

    def tick(self, now: float) -> None:
        """Do what is due."""
        asked: set[int] = set()
        for look in list(self._looks):
            pid = look.child.pid
            if look.asked_at is not None:
                asked.add(pid)
            if now < look.due or (look.asked_at is None and pid in asked):
                continue  # one after the other: all share the child's memory
            asked.add(pid)
            try:
                over = self._go_on(look, now)
            except Exception as error:  # such as no descriptor left; the children need their node
                log.debug("a look failed", exc_info=True)
                self._fail(look.question.number, f"the node could not look: {error!r:.300}")
                over = True
            if over:
                self._looks.remove(look)

    def _trace(self, question: from_broker.LookAt, child: Looked, before: Traced | None, now: float) -> None:
        records = child.ring.packed(now - question.seconds if question.seconds else 0.0)
        mine = Traced(child.pid, child.incarnation, 0.0, "", records, tuple(_tasks(child, now)))
        recent = before is not None and (not question.seconds or before.died > wall() - question.seconds)
        processes = (before, mine) if before is not None and recent else (mine,)
        self._answer(question.number, pack(Traces(wall(), now, processes)))

    def _go_on(self, look: _Look, now: float) -> bool:
        """Returns whether the look is over."""
        child = look.child
        if look.asked_at is None:
            if not is_answered(child.pid):
                return self._end(look, "", UNANSWERED, now)
            child.stacks.clear()
            child.signal(SIGNAL)
            look.more = False
            look.asked_at = look.changed_at = now
            look.text = ""
            look.due = now + LOOK_EVERY / 5
            return False
        text = child.stacks.read()
        if text != look.text:
            look.text, look.changed_at = text, now
        there = stacks.is_whole(text, more=look.more) or (bool(text) and now >= look.changed_at + SETTLED)
        if not there and now < look.asked_at + GIVE_UP:
            look.due = now + LOOK_EVERY
            return False
        if there and not look.more and look.question.kind == "stack" and is_answered(child.pid, MORE):
            child.signal(MORE)  # not before: another thread would take the first signal
            look.more, look.changed_at, look.due = True, now, now + LOOK_EVERY / 5
            return False
        return self._end(look, text, "" if text else STOPPED.format(pid=child.pid), now)

    def _end(self, look: _Look, text: str, note: str, now: float) -> bool:
        """A text is there, or none comes."""
        if look.question.kind == "stack":
            self._answer(look.question.number, pack(Where(tuple(_tasks(look.child, now)), text, note)))
            return True
        main = stacks.main_stack(stacks.parse(text))
        if main is None:
            look.missed += 1
        elif main.frames in look.samples or len(look.samples) < DIFFERENT:
            look.samples[main.frames] += 1
        if now < look.began + look.question.seconds and note != UNANSWERED:
            look.due = max(now + LOOK_EVERY / 5, (look.asked_at or now) + SAMPLE_EVERY)
            look.asked_at = None
            return False
        self._answer(look.question.number, _profile(look, note if not look.samples else "", now))
        return True

    def _answer(self, number: int, data: bytes) -> None:
        if len(data) > to_broker.SEEN:
            self._fail(number, "the answer is too large to be sent; look for fewer seconds")
            return
        self._say(to_broker.Seen(node=self._node, number=number, data=data, error=""))

    def _fail(self, number: int, error: str) -> None:
        self._say(to_broker.Seen(node=self._node, number=number, data=b"", error=error))


def _tasks(child: Looked, now: float) -> Iterable[Task]:
    """The tasks that a child runs. What its memory says is written by a process that may be broken."""
    if not child.is_worker:
        return
    with contextlib.suppress(OverflowError):
        for run in child.running_note.read()[:TASKS]:
            seconds = now - run.since if 0.0 < run.since <= now else 0.0
            yield Task(run.job, run.epoch, run.path, run.given, seconds)


def _profile(look: _Look, note: str, now: float) -> bytes:
    """A profile that fits into an answer: the stacks that were seen most."""
    most = look.samples.most_common()
    while True:
        data = pack(
            Profile(now - look.began, look.samples.total(), look.missed, SAMPLE_EVERY, tuple(most), note)
        )
        if len(data) <= to_broker.SEEN or len(most) < 2:
            return data
        most = most[: len(most) // 2]


def wall() -> float:
    """Seconds since 1970, to join what is recorded on several hosts."""
    return time.time()
