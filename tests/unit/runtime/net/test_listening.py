"""Where a process listens, and which addresses it tells others."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import zmq

from zturbo.errors import StartError, UsageError
from zturbo.runtime.net.host import address_towards, with_zone, zone_of
from zturbo.runtime.net.listening import Listening, parse_ports, parse_told
from zturbo.runtime.net.sockets import make

OWN = ["10.0.0.7", "192.168.1.7", "fd00::7", "fe80::7%eth0", "127.0.0.1"]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


def told(listening: Listening, *bound: str) -> tuple[str, ...]:
    return listening.to_tell(bound, lambda: OWN)


def test_what_is_bound_is_told() -> None:
    assert told(Listening(("10.0.0.7",)), "tcp://10.0.0.7:4000") == ("tcp://10.0.0.7:4000",)
    several = told(Listening(("10.0.0.7", "fd00::7")), "tcp://10.0.0.7:4000", "tcp://[fd00::7]:4001")
    assert several == ("tcp://10.0.0.7:4000", "tcp://[fd00::7]:4001")


def test_all_addresses_are_told_by_name() -> None:
    found = told(Listening(("0.0.0.0",)), "tcp://0.0.0.0:4000")
    assert found == ("tcp://10.0.0.7:4000", "tcp://192.168.1.7:4000", "tcp://127.0.0.1:4000")
    assert "tcp://[fd00::7]:4000" in told(Listening(("::",)), "tcp://[::]:4000")


def test_the_zone_of_a_card_is_not_told() -> None:
    listening = Listening(("fe80::7%eth0",))
    assert told(listening, "tcp://[fe80::7%eth0]:4000") == ("tcp://[fe80::7]:4000",)
    assert listening.zone == "eth0"
    assert with_zone("tcp://[fe80::9]:4000", "eth1") == "tcp://[fe80::9%eth1]:4000"
    for as_it_is in ("tcp://[fd00::9]:1", "tcp://[fe80::9%a]:1", "tcp://10.0.0.1:1", "ipc://x"):
        assert with_zone(as_it_is, "eth1") == as_it_is
    assert zone_of("tcp://[fe80::9%eth1]:4000") == "eth1"
    assert zone_of("tcp://[fe80::9]:4000") == zone_of("tcp://10.0.0.1:1") == zone_of("ipc://a%b") == ""


def test_behind_nat_others_are_told_its_address_and_the_mapped_port() -> None:
    mapped = Listening(("10.0.0.7",), (5600, 5700), (("203.0.113.5", 7000),))
    assert told(mapped, "tcp://10.0.0.7:5602") == ("tcp://203.0.113.5:7002",)
    same = Listening(("0.0.0.0",), None, (("203.0.113.5", 0), ("2001:db8::5", 0)))
    assert told(same, "tcp://0.0.0.0:4000") == (
        "tcp://203.0.113.5:4000",
        "tcp://[2001:db8::5]:4000",
        "tcp://127.0.0.1:4000",
    )


def test_a_spec_is_read_as_it_was_written() -> None:
    for listening in (Listening(), Listening(("a", "b"), (1, 2), (("c", 3),))):
        assert Listening.of(listening.to_spec()) == listening
    assert Listening.of("tcp://[::1]:*") == Listening(("::1",))
    assert Listening.of("tcp://127.0.0.1:5555") == Listening(("127.0.0.1",), (5555, 5555))
    assert told(Listening.of("ipc:///x"), "ipc:///x") == ("ipc:///x",)


def test_ports_are_taken_in_turn_until_none_is_left(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    first = free_ports(3)
    listening = Listening(("127.0.0.1",), (first, first + 2))

    held = []

    def bind() -> str:
        (bound,) = listening.bind(lambda address: make(context, zmq.PULL, bind=address))
        held.append(bound)
        return listening.addresses([bound])[0]

    assert [bind() for _ in range(3)] == [f"tcp://127.0.0.1:{first + i}" for i in range(3)]
    with pytest.raises(StartError, match=f"all ports of 127.0.0.1 from {first} to {first + 2} are in use"):
        bind()
    with pytest.raises(StartError, match="not an address of this host"):
        Listening(("198.51.100.1",), (first, first)).bind(lambda at: make(context, zmq.PULL, bind=at))


def free_ports(n: int) -> int:
    """The first of some ports in a row that nobody uses."""
    for first in range(20000, 30000, 50):
        held = [socket.socket() for _ in range(n)]
        try:
            for i, one in enumerate(held):
                one.bind(("127.0.0.1", first + i))
        except OSError:
            continue
        finally:
            for one in held:
                one.close()
        return first
    raise AssertionError("no ports are free")


@pytest.mark.parametrize("text", ["", "a", "5", "0-5", "9-8", "5-70000", "5-", "-5", "5-6-7", "٣-٤"])
def test_ports_that_are_none(text: str) -> None:
    if text == "5":
        assert parse_ports(text, "--ports") == (5, 5)
        return
    with pytest.raises(UsageError, match="--ports: expected two numbers from 1 to 65535, such as 5555-5600"):
        parse_ports(text, "--ports")


def test_advertised_addresses() -> None:
    assert parse_ports("5555-5600", "") == (5555, 5600)
    for text, found in {
        "203.0.113.5": ("203.0.113.5", 0),
        "203.0.113.5:7000": ("203.0.113.5", 7000),
        "2001:db8::5": ("2001:db8::5", 0),
        "[2001:db8::5]:7000": ("2001:db8::5", 7000),
        "gate": ("gate", 0),
    }.items():
        assert parse_told(text, "") == found
    for text in ("", ":5", "a:b", "a:70000", "[]:5"):
        with pytest.raises(UsageError, match="--advertise: expected HOST or HOST:PORT"):
            parse_told(text, "--advertise")


def test_the_address_towards_a_host_on_this_one() -> None:
    assert address_towards("tcp://[::1]:5") is None
    assert address_towards("tcp://127.0.0.1:5") is None
