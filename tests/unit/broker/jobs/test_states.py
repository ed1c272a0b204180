"""Which state of a job may follow which."""

from __future__ import annotations

import pytest

from zturbo_broker.jobs.states import TRANSITIONS, InvalidTransition, check_transition


def test_transitions() -> None:
    for before in TRANSITIONS:
        for after in TRANSITIONS:
            if after in TRANSITIONS[before]:
                check_transition(before, after)
            else:
                with pytest.raises(InvalidTransition):
                    check_transition(before, after)
    assert not any(TRANSITIONS[state] for state in ("done", "failed", "cancelled"))
