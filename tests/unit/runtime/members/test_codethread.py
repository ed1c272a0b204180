"""The main thread runs the loop while it has no work, unless the stage's code could break it there."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from zturbo import BatchStage, Stage, Task
from zturbo.core.effects import Work
from zturbo.core.worker.produced import Produced
from zturbo.runtime.code.batching import BatchRunner
from zturbo.runtime.code.laps import Laps
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.runner import Runner
from zturbo.runtime.code.stagehost import StageHost
from zturbo.runtime.members.codethread import CodeThread
from zturbo.wire.messages import Batch
from zturbo.wire.payload import pack_many

JOB, SENDER = b"a" * 16, b"s" * 16


class Plain(Stage):
    def process(self, task: Task) -> Task:
        return task


class Alarmed(Stage):
    """Leaves a handler that raises."""

    def process(self, task: Task) -> Task:
        signal.signal(signal.SIGALRM, self.late)
        return task

    def late(self, *args: Any) -> None:
        raise TimeoutError


class Several(BatchStage):
    max_batch = 1

    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return tasks


class Rig:
    """A code thread (this one) and its loop, which gives a piece of work each time that one is finished."""

    def __init__(self, stage: type[Stage], works: int, kind: type[Runner] | type[BatchRunner]) -> None:
        self.stopping = False
        self.waited = 0.0
        self.left = works
        self.by: list[str] = []
        """Name of the thread that has given each work."""
        self.taken = 0
        self.takers: SimpleQueue[str] = SimpleQueue()
        """Name of the thread that has taken each output."""
        self.calls: SimpleQueue[Callable[[float], None] | None] = SimpleQueue()
        self.code = CodeThread(
            "s",
            self,
            turn=self.turn,
            go_on=self.go_on,
            take=self.take,
            pressed=lambda: False,
            epochs={JOB: 1},
            laps=Laps(),
        )
        self.runner = kind(
            Production(StageHost(stage, name="s", index=0), self.code.give, {JOB: 1}.get, 1 << 20)
        )
        self.follower = threading.Thread(target=self.code.lead.follow, name="io", daemon=True)
        self.calls.put(lambda now: self.next())

    def start(self) -> None:
        self.code.may_lead = True
        for number in (signal.SIGINT, signal.SIGALRM):  # those of pytest and its plugins
            self.code.handlers.setdefault(number, signal.getsignal(number))
        self.follower.start()

    def run(self) -> None:
        self.start()
        self.code.run(self.runner)
        self.end()
        assert self.code.wait(0.0)

    def end(self) -> None:
        self.stopping = True
        self.wake()
        self.follower.join(30.0)
        assert not self.follower.is_alive()

    def next(self) -> None:
        self.by.append(threading.current_thread().name)
        if not self.left:
            self.code.stop()
            return
        self.left -= 1
        batch = Batch(JOB, 1, 0, [((self.left,), 1)], 1, pack_many([0]), number=1, source=SENDER)
        self.code.works.put(Work(JOB, 1, [(batch, 0, 1)], (SENDER, 1), []))

    def take(self, given: list[Produced], now: float) -> None:
        self.taken += sum(one.tasks for one in given)
        self.takers.put(threading.current_thread().name)
        if any(one.works for one in given):
            self.next()

    # -- the loop -----------------------------------------------------------------------------
    def wake(self) -> None:
        self.calls.put(None)

    def post(self, call: Callable[[float], None]) -> None:
        self.calls.put(call)

    def turn(self, longest: float) -> None:
        call = self.calls.get(timeout=30.0 if longest == math.inf else longest + 0.001)
        if call is not None:
            call(0.0)

    def go_on(self) -> None:
        while not self.calls.empty():
            call = self.calls.get()
            if call is not None:
                call(0.0)


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, before)


def test_a_thread_without_work_runs_the_loop() -> None:
    rig = Rig(Plain, 50, Runner)
    rig.run()
    assert rig.taken == 50
    assert "MainThread" in rig.by, "the other thread may give some, if this one runs code for long"


@pytest.mark.parametrize(
    ("stage", "kind"), [(Alarmed, Runner), (Several, BatchRunner)], ids=["handler", "batches"]
)
def test_it_leaves_the_loop_to_the_other_thread(
    stage: type[Stage], kind: type[Runner] | type[BatchRunner]
) -> None:
    """Since a handler of the stage's code may raise in the loop, or since it waits for more tasks."""
    rig = Rig(stage, 50, kind)
    rig.run()
    assert rig.taken == 50
    assert set(rig.by[1:]) == {"io"}


@pytest.mark.parametrize(("seconds", "thread"), [(1e-5, "MainThread"), (0.01, "io")])
def test_what_a_slow_task_gives_is_sent_by_the_other_thread_while_the_next_one_runs(
    seconds: float, thread: str
) -> None:
    rig = Rig(Plain, 0, Runner)
    rig.start()
    try:
        rig.code.lead.lead(lambda: not rig.code.works.empty())  # this rig gives no work but its last
        rig.code.give([Produced(JOB, 1, [], None, 4, 4 * seconds)])
        assert rig.takers.get(timeout=30.0) == thread
    finally:
        rig.end()


def test_handlers_of_zturbo_itself_do_no_harm() -> None:
    rig = Rig(Plain, 50, Runner)
    handler = signal.signal(signal.SIGALRM, lambda *args: None)
    rig.code.handlers[signal.SIGALRM] = signal.getsignal(signal.SIGALRM)
    rig.run()
    assert "MainThread" in rig.by
    signal.signal(signal.SIGALRM, handler)
