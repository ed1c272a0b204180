"""Sums over members that come and go."""

from __future__ import annotations

from tests.unit.telemetry.reports import member, telemetry
from zturbo.telemetry.totals import Key, Totals

KEY = Key("p", "a", "h")


def test_sums_do_not_fall_when_a_member_leaves() -> None:
    totals = Totals()
    totals.add(telemetry(member(0, rate=10), member(0, rate=5, number=1)))
    assert totals.sums[KEY]["tasks"] == 60 and sum(totals.histograms[KEY]["times"]) == 60
    totals.add(telemetry(member(0, rate=10)))
    totals.add(telemetry(member(0, rate=12)))
    assert totals.sums[KEY]["tasks"] == 68 and sum(totals.histograms[KEY]["times"]) == 68


def test_a_member_in_its_place_begins_anew() -> None:
    totals = Totals()
    totals.add(telemetry(member(0, rate=10)))
    totals.add(telemetry(member(0, rate=1, number=1)))
    assert totals.sums[KEY]["tasks"] == 44


def test_hosts_and_sinks_are_told_apart() -> None:
    totals = Totals()
    totals.add(telemetry(member(0, rate=1), member(0, rate=2, host="far", number=1), member(-1)))
    assert set(totals.sums) == {KEY, Key("p", "a", "far"), Key("", "sink", "h")}
