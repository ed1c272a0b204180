"""What each host of ``zturbo deploy`` starts and stops."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.deploy.network import Network
from zturbo.deploy.units import (
    Running,
    Unit,
    bind_of,
    parse_running,
    reached_at,
    resolved_words,
    restarted,
    scaled,
    shares,
    units_of,
    upped,
)
from zturbo.errors import NetworkFileError, StartError


def network(*hosts: dict[str, Any], bind: str = "tcp://127.0.0.1:5555") -> Network:
    stages = [{"name": "one", "class": "m:C", "workers": 3}, {"name": "two", "class": "m:C"}]
    table = {"broker": {"bind": bind}, "pipeline": [{"name": "p", "stage": stages}], "host": list(hosts)}
    return Network.parse(table)


def runs(unit: str, number: int, workers: int = 1, state: str = "joined", version: str = "new") -> Running:
    return Running(f"{unit}.{number}", unit, workers, version, state)


def test_workers_are_dealt_out_where_no_host_names_stages() -> None:
    three = network({"name": "a", "address": "10.0.0.1"}, {"name": "b"}, {"name": "c"})
    assert shares(three) == {"a": {"p.one": 1}, "b": {"p.one": 1, "p.two": 1}, "c": {"p.one": 1}}


def test_hosts_have_the_stages_that_they_name() -> None:
    named = network({"name": "a"}, {"name": "b", "stages": ["p.one"], "workers": {"p.two": 2}})
    assert shares(named) == {"a": {}, "b": {"p.one": 3, "p.two": 2}}
    with pytest.raises(NetworkFileError, match=r"no host runs p\.two"):
        shares(network({"name": "a", "stages": ["p.one"], "workers": {"p.two": 0}}))


def test_the_brokers_address() -> None:
    one = network({"name": "a"})
    assert bind_of(one) == reached_at(one) == "tcp://127.0.0.1:5555"
    two = network({"name": "a", "address": "fd00::1"}, {"name": "b"})
    assert bind_of(two) == "tcp://@address:5555" and reached_at(two) == "tcp://[fd00::1]:5555"
    named = network({"name": "a"}, {"name": "b"}, bind="tcp://10.0.0.1:5555")
    assert reached_at(named) == "tcp://10.0.0.1:5555"
    with pytest.raises(NetworkFileError, match=r"host\.a\.address: is missing"):
        bind_of(network({"name": "a"}, {"name": "b"}))


def test_the_commands_of_hosts() -> None:
    two = network({"name": "a", "address": "h1"}, {"name": "b", "ports": "6000-6010"})
    first, other = (units_of(two, host, keys=True, insecure=False) for host in two.hosts)
    words = resolved_words(first["broker"].words, {"@file": "/n.toml", "@keys": "/k"}, "10.0.0.1")
    assert words == "broker /n.toml --bind tcp://10.0.0.1:5555 --keys /k --address 10.0.0.1".split()
    assert set(other) == {"p.one", "p.two"}
    words = resolved_words(other["p.two"].words, {"@file": "/n.toml", "@keys": "/k"}, "")
    assert words == "stage /n.toml p.two --broker tcp://h1:5555 --keys /k --ports 6000-6010".split()


UNITS = {name: Unit(name, (name,)) for name in ("broker", "sink", "p.one", "p.two")}


def test_up_starts_what_does_not_run() -> None:
    plan = upped(UNITS, {"p.one": 2}, [], "new")
    assert [(unit.name, unit.workers) for unit in plan.start] == [("broker", 0), ("sink", 0), ("p.one", 2)]
    running = [runs("broker", 1, 0), runs("sink", 1, 0), runs("p.one", 1, 2)]
    again = upped(UNITS, {"p.one": 2}, running, "new")
    assert not again.start and not again.stop
    assert again.told == ("broker runs already", "sink runs already", "p.one runs already")
    other = upped(UNITS, {"p.one": 2}, running, "newer")
    assert not other.start and "'restart p.one' takes this" in other.told[2]


def test_up_starts_again_what_has_ended_and_stops_what_the_file_has_no_more() -> None:
    plan = upped(
        {"p.one": UNITS["p.one"]}, {"p.one": 2}, [runs("p.one", 1, 2, "ended"), runs("p.old", 4)], "new"
    )
    assert [unit.name for unit in plan.start] == ["p.one"] and plan.stop == ("p.one.1", "p.old.4")


def test_restart_starts_as_many_as_there_are() -> None:
    running = [runs("p.one", 1, 2), runs("p.one", 2), runs("p.two", 1)]
    plan = restarted(UNITS["p.one"], running, "new", "job")
    assert [unit.workers for unit in plan.start] == [3] and plan.stop == ("p.one.1", "p.one.2")
    assert not plan.told
    assert restarted(UNITS["p.one"], [runs("p.two", 1)], "new", "job").start == ()


@pytest.mark.parametrize(
    "code, said",
    [("job", "jobs that run keep the code"), ("same", "are refused"), ("any", ""), ("restart", "")],
)
def test_it_is_told_what_new_code_does_to_running_jobs(code: str, said: str) -> None:
    told = restarted(UNITS["p.one"], [runs("p.one", 1)], "newer", code).told
    assert (said in told[0]) if said else not told


@given(st.lists(st.integers(1, 5), max_size=4), st.integers(0, 12))
def test_scale_gives_that_many_and_stops_only_what_it_must(sizes: list[int], wanted: int) -> None:
    running = [runs("p.one", i, size) for i, size in enumerate(sizes)]
    plan = scaled(UNITS["p.one"], running, wanted)
    left = [one for one in running if one.id not in plan.stop]
    assert sum(one.workers for one in left) + sum(unit.workers for unit in plan.start) == wanted
    assert wanted < sum(sizes) or not plan.stop
    assert plan.version == ("new" if sizes else None)


@pytest.mark.parametrize(
    "answer",
    [None, 3, [{}], [[1]], [{"id": 1, "unit": "", "workers": 1, "version": "", "state": ""}], [{"x": 1}]],
)
def test_what_a_host_says_is_looked_at(answer: Any) -> None:
    with pytest.raises(StartError, match="does not say what runs there"):
        parse_running(answer)
