"""Members are told of jobs that are done: of many in one message, soon, and of each once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.effects import Control
from zturbo.wire.control import from_broker
from zturbo_broker.jobs.joblists import AT_ONCE, SAY_AFTER, JobLists

MEMBERS = [b"a" * 16, b"b" * 16]


def told(controls: list[Control]) -> list[tuple[bytes, bytes]]:
    pairs = []
    for control in controls:
        assert isinstance(control.message, from_broker.Forget)
        pairs += [(control.to, job) for job in control.message.jobs]
    return pairs


@given(st.lists(st.tuples(st.sets(st.sampled_from(MEMBERS)), st.booleans()), max_size=30))
def test_each_member_is_told_of_each_job_once(steps: list[tuple[set[bytes], bool]]) -> None:
    forgets, expected, got = JobLists(from_broker.Forget), [], []
    for i, (members, hurry) in enumerate(steps):
        job = i.to_bytes(16, "big")
        forgets.add(sorted(members), job, float(i))
        expected += [(member, job) for member in members]
        got += told(forgets.say_now() if hurry else forgets.say(float(i)))
    got += told(forgets.say(1e9))
    assert sorted(got) == sorted(expected) and forgets.due is None


def test_jobs_come_together_for_a_moment_and_no_longer() -> None:
    forgets = JobLists(from_broker.Forget)
    forgets.add(MEMBERS, b"1" * 16, 0.0)
    forgets.add(MEMBERS, b"2" * 16, SAY_AFTER / 2)
    assert forgets.due == SAY_AFTER and forgets.say(SAY_AFTER / 2) == []
    said = forgets.say(SAY_AFTER)
    assert [(control.to, len(told([control]))) for control in said] == [(member, 2) for member in MEMBERS]


def test_a_message_has_as_many_jobs_as_one_may_have() -> None:
    forgets = JobLists(from_broker.Forget)
    for i in range(AT_ONCE + 1):
        forgets.add(MEMBERS[:1], i.to_bytes(16, "big"), 0.0)
    assert [len(told([control])) for control in forgets.say_now()] == [AT_ONCE, 1]
