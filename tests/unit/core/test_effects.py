"""Work that is cut short from another thread: each task is either started or given back."""

from __future__ import annotations

import threading

from zturbo.core.effects import Work


class Interrupted(Work):
    """The runner takes its next task just when the limit has been set for the first time."""

    ran = 0

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "limit" and value == 0 and self.deciding:
            self.thread = threading.Thread(target=self.run)
            self.taken = threading.Event()
            self.thread.start()
            self.taken.wait()

    def run(self) -> None:
        self.at = 0
        late = self.at >= self.limit
        self.taken.set()
        if not (late and self.over(0)):
            self.ran += 1


def test_a_task_that_is_taken_meanwhile_is_started() -> None:
    work = Interrupted(b"job", 1, [], None, [])
    started = work.stop_early()
    work.thread.join()
    assert (started, work.ran) == (1, 1)


def test_what_is_not_started_is_given_back() -> None:
    work = Work(b"job", 1, [], None, [])
    work.at = 2
    assert work.stop_early() == 3
    work.at = 3
    assert work.over(3)
