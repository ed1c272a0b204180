"""W4 and W5: frames of 1080p video, each an array of 6.2 MB."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Semaphore
from typing import Any

from benchmarks import frames
from benchmarks.frames import Wrong
from benchmarks.peer import Flow, Peer
from benchmarks.work import Begin, Figure, Work, timed

__all__ = ["WORKS"]

IN_FLIGHT = 8


def _looked_at(results: Iterator[Any], count: int) -> Iterator[frames.Frame]:
    """Check each frame's numbers as it comes, and a few frames as a whole."""
    got = 0
    for got, frame in enumerate(results, 1):
        frames.check(got - 1, frame, whole=got in (1, count // 2, count))
        yield frame
    if got != count:
        raise Wrong(f"{got} frames of {count}")


def _through(peer: Peer, count: int) -> None:
    room = Semaphore(IN_FLIGHT)

    def source() -> Iterator[frames.Frame]:
        for frame in frames.some(count):
            room.acquire()
            yield frame

    run = peer.stream if peer.streams else peer.jobs
    for _ in _looked_at(run(source(), IN_FLIGHT), count):
        room.release()


def _rate(peer: Peer, run: Any, seconds: float) -> Iterator[Figure]:
    count, took = timed(run, lambda n, out: None, seconds, least=10)
    yield Figure("frames/s", count / took)


def there_and_back(begin: Begin, seconds: float) -> Iterator[Figure]:
    """The client makes frames and gets them back."""
    with begin(Flow(("same", "same", "same"), large=True)) as peer:
        yield from _rate(peer, lambda n: _through(peer, n), seconds)


def made_by_a_stage(begin: Begin, seconds: float) -> Iterator[Figure]:
    """The first stage makes frames, the second reads them, the third writes into them."""

    def run(count: int) -> None:
        for _ in _looked_at(peer.fan_out(count, count), count):
            pass

    with begin(Flow(("film", "read", "stamp"), large=True)) as peer:
        yield from _rate(peer, run, seconds)


def over_tcp(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Client and first stage are on one host, the other stages on another one."""
    with begin(Flow(("same", "same", "same"), large=True, away=2)) as peer:
        yield from _rate(peer, lambda n: _through(peer, n), seconds)


WORKS = [
    Work(
        "W4",
        f"1080p frames from the client through three stages and back, {IN_FLIGHT} in flight",
        there_and_back,
    ),
    Work(
        "W4b",
        "1080p frames made by stage 1, read by 2, written into by 3, read by the client",
        made_by_a_stage,
    ),
    Work("W5", "W4 over TCP, with stages 2 and 3 in another network namespace", over_tcp, two_hosts=True),
]
