"""Each broker is told which roots a worker holds, until it confirms that."""

from __future__ import annotations

from tests.unit.core.worker.inputs import BROKER, JOB, ME, Inputs, a_batch
from zturbo.core.effects import Control
from zturbo.core.worker.adoption import REPORT_EVERY, Adoption
from zturbo.wire.control import to_broker

NEW = b"n" * 16


class Worker:
    def __init__(self) -> None:
        self.inputs = Inputs()
        self.adoption = Adoption(ME, self.inputs.arrivals, self.inputs.effects)

    def told(self, now: float) -> list[to_broker.Held]:
        self.inputs.effects.clear()
        self.adoption.tick(now)
        messages = [effect.message for effect in self.inputs.effects if isinstance(effect, Control)]
        assert all(isinstance(message, to_broker.Held) for message in messages)
        return messages  # type: ignore[return-value]


def test_before_the_first_broker_there_is_nothing_to_report() -> None:
    worker = Worker()
    assert worker.adoption.deadline() is None and worker.told(9.0) == []


def test_the_first_broker_is_told_that_nothing_is_held() -> None:
    """It may know this worker from its ledger, and wait for the report."""
    worker = Worker()
    worker.adoption.adopt(BROKER, [], 1.0)
    assert worker.adoption.broker == BROKER and worker.adoption.deadline() == 1.0
    assert worker.told(1.0) == [to_broker.Held(incarnation=ME, broker=BROKER, items=())]


def test_a_report_is_repeated_until_that_broker_confirms_it() -> None:
    worker = Worker()
    worker.adoption.adopt(BROKER, [], 0.0)
    assert [len(worker.told(now)) for now in (0.0, REPORT_EVERY / 2, REPORT_EVERY)] == [1, 0, 1]
    worker.adoption.confirmed(NEW)
    assert len(worker.told(2 * REPORT_EVERY)) == 1, "that was another one's word"
    worker.adoption.confirmed(BROKER)
    assert worker.told(9.0) == [] and worker.adoption.deadline() is None


def test_the_next_broker_gets_the_roots_of_the_one_before() -> None:
    worker = Worker()
    worker.adoption.adopt(BROKER, [], 0.0)
    worker.adoption.confirmed(BROKER)
    roots = a_batch(1, 3, source=BROKER)
    worker.inputs.come(roots, a_batch(1, 2))
    worker.adoption.adopt(NEW, [((BROKER, 1), 3, roots.nbytes)], 5.0)
    (report,) = worker.told(5.0)
    assert (report.broker, report.items) == (NEW, ((JOB, 1, (((0,), 3),), 3, roots.nbytes),))
    worker.adoption.confirmed(BROKER)
    assert len(worker.told(9.0)) == 1, "the old broker's word may come late"
