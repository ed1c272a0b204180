"""Which connections are ended when there are too many."""

from __future__ import annotations

import threading
import time
from collections import Counter

import zmq

from tests.support.half_open import Stranger
from zturbo.runtime.net.audit import Audit
from zturbo.runtime.net.crowd import CROWDED, HALF_OPEN, YOUNG, Bounds, Crowd
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.sockets import Dealer, make, send_frames


class Kernel:
    """What the kernel and ZeroMQ know of connections."""

    def __init__(self) -> None:
        self.shaken: set[int] = set()
        self.spoken: set[int] = set()
        self.gone: set[int] = set()

    def has_shaken(self, fd: int, secured: bool) -> bool | None:
        return None if fd in self.gone else fd in self.shaken


def crowd(half_open: int, connections: int = 1000) -> tuple[Crowd, Kernel]:
    kernel = Kernel()
    return Crowd(Bounds(half_open, connections), kernel.has_shaken, kernel.spoken.__contains__), kernel


def come(made: Crowd, fds: range, address: str = "10.0.0.1", now: float = 0.0) -> None:
    for fd in fds:
        made.came(fd, address, now, secured=False)


def test_the_oldest_half_open_ones_go_first() -> None:
    made, _ = crowd(16)
    come(made, range(16))
    assert made.surplus(0) == []
    come(made, range(16, 17))
    assert made.surplus(0) == [(fd, HALF_OPEN) for fd in (0, 1, 2)]  # some at once: they will be more
    assert len(made) == 14
    assert made.surplus(0) == []


def test_those_that_have_shaken_hands_are_not_half_open() -> None:
    made, kernel = crowd(16)
    kernel.shaken |= set(range(10))
    come(made, range(40))
    kernel.gone |= set(range(10, 20))
    assert {fd for fd, _ in made.surplus(0)} < set(range(20, 40))
    assert made.surplus(0) == []
    come(made, range(100, 120), now=YOUNG * 2)  # ZeroMQ has ended the older ones by now
    assert {fd for fd, _ in made.surplus(YOUNG * 2)} < set(range(100, 120))


def test_an_address_with_few_of_them_loses_none_before_others() -> None:
    made, _ = crowd(32)
    come(made, range(3), "10.0.0.9")
    come(made, range(100, 120), "10.0.0.1")
    come(made, range(200, 205), "2001:db8::1")
    come(made, range(300, 305), "2001:db8::2:2")  # the same network
    ended = {fd for fd, _ in made.surplus(0)}
    assert ended == {100, 101, 102, 103, 104}
    come(made, range(400, 430), "::ffff:10.0.0.9")  # as IPv4
    assert min(fd for fd, _ in made.surplus(0)) == 0


def test_of_all_connections_the_silent_go_first_and_then_the_newest() -> None:
    made, kernel = crowd(100, 20)
    come(made, range(20))
    kernel.shaken |= set(range(100))
    kernel.spoken |= set(range(100)) - {5, 6}
    come(made, range(20, 21))
    assert made.surplus(0) == [(5, CROWDED)]
    come(made, range(21, 24))
    assert made.surplus(0) == [(6, CROWDED), (23, CROWDED), (22, CROWDED)]
    assert made.surplus(0) == [] and len(made) == 20


def test_bounds_leave_descriptors_for_other_things() -> None:
    for descriptors in (64, 1024, 20_000, 1 << 20):
        bounds = Bounds.of(descriptors)
        assert 16 <= bounds.half_open <= min(4096, descriptors // 4)
        assert bounds.half_open < bounds.connections <= descriptors * 5 // 8
        assert Bounds.of(descriptors, 1 << 30, 1 << 30) == bounds
    assert Bounds.of(1024, 20, 30) == Bounds(20, 30)


def test_good_ones_come_in_beside_very_many_half_open_ones() -> None:
    """Each good connection is there at once, and the strangers never have more than the bound."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    said: list[str] = []
    arrivals = Arrivals(Audit(said.append), Bounds(32, 500))
    router = make(context, zmq.ROUTER, bind="tcp://127.0.0.1:*", arrivals=arrivals)
    endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
    poller = zmq.Poller()
    for socket in (router, *arrivals.changes):
        poller.register(socket, zmq.POLLIN)
    over = threading.Event()
    stranger = Stranger([("127.0.0.1", int(endpoint.rpartition(":")[2]))], 300, ("silent", "slow", "stopped"))

    def attack() -> None:
        while not over.is_set():
            stranger.step()

    thread = threading.Thread(target=attack)
    thread.start()
    heard: Counter[bytes] = Counter()
    try:
        until = time.monotonic() + 30
        while stranger.closed < 500 or len(heard) < 10:
            assert time.monotonic() < until, (stranger.closed, heard)
            good = make(context, zmq.DEALER, connect=endpoint)
            assert isinstance(good, Dealer)
            name = b"%d" % len(heard)
            while name not in heard:
                assert time.monotonic() < until, (stranger.closed, heard)
                if good.connected():
                    send_frames(good, [name])
                for socket, _ in poller.poll(10):
                    if socket is router:
                        heard[arrivals.receive(router)[-1].bytes] += 1
                    else:
                        arrivals.take(time.monotonic())
                arrivals.take(time.monotonic())
                assert arrivals.standing < 64
            good.close()
    finally:
        over.set()
        thread.join()
        stranger.close()
        arrivals.forget()
        router.close()
        context.term()
    assert said and HALF_OPEN in said[0] and "127.0.0.1" in said[0]
