"""The broker is told what a sink found in its spool, again and again until it confirms that."""

from __future__ import annotations

from tests.unit.core.sink.jobs import JOB, ME
from zturbo.core.effects import Control, Effect, ForgetDamaged
from zturbo.core.sink.recovered import RECOVERED_EVERY, RecoveredSpool
from zturbo.wire.control import to_broker

BAD = b"d" * 16


def test_a_sink_that_has_read_nothing_has_nothing_to_tell() -> None:
    effects: list[Effect] = []
    spool = RecoveredSpool(ME, effects)
    spool.tell(list, 5.0)
    assert effects == [] and not spool.untold and spool.deadline() is None


def test_it_is_told_at_once_and_each_second_with_the_ranks_of_that_time() -> None:
    effects: list[Effect] = []
    spool = RecoveredSpool(ME, effects)
    spool.read([BAD], 3.0)
    assert spool.untold and spool.deadline() == 3.0
    for now, rank in ((3.0, 1), (3.5, 2), (3.0 + RECOVERED_EVERY, 3)):
        spool.tell(lambda rank=rank: [(JOB, rank, 0)], now)  # type: ignore[misc]
    told = [effect.message for effect in effects if isinstance(effect, Control)]
    assert told == [
        to_broker.Recovered(incarnation=ME, jobs=((JOB, rank, 0),), damaged=(BAD,)) for rank in (1, 3)
    ]
    assert spool.deadline() == 3.0 + 2 * RECOVERED_EVERY


def test_the_marks_of_damaged_files_go_when_the_broker_knows_of_them() -> None:
    effects: list[Effect] = []
    spool = RecoveredSpool(ME, effects)
    spool.read([BAD], 0.0)
    assert effects == [], "not before"
    spool.confirmed()
    assert effects == [ForgetDamaged([BAD])]
    assert not spool.untold and spool.deadline() is None
    spool.tell(list, 99.0)
    assert len(effects) == 1, "and it is not told again"
    spool.confirmed()
    assert effects == [ForgetDamaged([BAD])] * 2, "a second word does no harm"
