"""A worker of another code is found among those of its stage."""

from __future__ import annotations

from tests.unit.broker.hosts import BOTH, member, numbered
from zturbo.slotted import replace
from zturbo_broker.members.coded import Coded


def test_a_worker_of_another_code() -> None:
    one, two, three = (
        replace(numbered(member("worker", stage, host="a", ends=BOTH), number), code=code)
        for number, (stage, code) in enumerate([(0, "x"), (0, "y"), (1, "z")])
    )
    unknown = replace(one, incarnation=b"u" * 16, code="")
    coded = Coded()

    def all_count(incarnation: bytes) -> bool:
        return True

    for each in (one, unknown, three):
        coded.add(each)
    assert coded.other(one, all_count) is None, "its own code, one that is not known, and another stage"
    assert coded.other(two, all_count) == one
    assert coded.other(two, lambda incarnation: incarnation != one.incarnation) is None, (
        "it is about to leave"
    )
    coded.add(two)
    coded.check([each.incarnation for each in (one, two, three, unknown)])
    assert coded.other(one, all_count) == two
    assert coded.counted(one.pipeline, 0, all_count) == {"x": 1, "y": 1}, "without the one that is not known"
    assert coded.counted(one.pipeline, 0, lambda incarnation: incarnation != one.incarnation) == {"y": 1}
    assert coded.counted("none", 0, all_count) == {}
    coded.remove(two)
    assert coded.other(one, all_count) is None
