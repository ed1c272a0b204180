"""Feeds a streamed job: one thread reads the caller's iterable, one sends its contents in chunks.

The sender takes what is there, so a fast iterable gives chunks of up to
:data:`~zturbo.wire.messages.MANY_TASKS` roots, and one that waits for its source has each root sent within
:data:`FLUSH` seconds. At most :data:`AHEAD` chunks are not acknowledged; the broker holds an acknowledgement
back while it has enough, so memory is bounded here and there.

Both threads use one deque, of which each end may be used by one thread at a time without a lock. The sender
sleeps only while the deque is empty. So the reader wakes it when it has appended the only content there, and
takes the lock for that alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from zturbo.client.io import ClientIO
from zturbo.errors import TooLarge
from zturbo.wire.control import answers, to_broker
from zturbo.wire.messages import MANY_TASKS
from zturbo.wire.payload import NeedsBuffers, pack_many, pack_one, take
from zturbo.wire.plain import UNCHANGING

__all__ = ["Feeder"]

CHUNK_BYTES = 1 << 20
"""Bytes in a chunk, about, before it is sent."""

FLUSH = 0.002
"""Seconds that a root waits for company."""

AHEAD = 8
"""Chunks that may be on the way."""


class Feeder:
    """One streamed job's feed.

    Args:
        io: the client's I/O thread.
        job: id of the job, submitted as a stream.
        contents: the caller's iterable.
        check: raises for frames of a content that is too large.
        fail: told what went wrong: the iterable raised, a content cannot be carried, the job ended.
    """

    def __init__(
        self,
        io: ClientIO,
        job: bytes,
        contents: Iterable[Any],
        *,
        fail: Callable[[BaseException], None],
        check: Callable[[list[Any]], None],
    ) -> None:
        self._io = io
        self._job = job
        self._contents = contents
        self._fail = fail
        self._check = check
        self._changed = threading.Condition()
        self._room = threading.Semaphore(AHEAD)
        self._waiting: deque[Any] = deque()
        self._sent = 0
        """Chunks that were sent; the sending thread alone counts them."""
        self._answered = 0
        """Chunks of which the broker has told something; the client's I/O thread alone counts them."""
        self._limit = 16
        """Contents that may wait: about CHUNK_BYTES of them, once their size is known."""
        self._ended = False
        self._closed = False
        self._seq = 0
        self._first = 0
        for target in (self._read, self._send_all):
            threading.Thread(target=target, name="zturbo-feed", daemon=True).start()

    def close(self) -> None:
        """Stop reading the iterable. (A read that blocks is left behind.)"""
        self._closed = True
        self._room.release()
        with self._changed:
            self._changed.notify_all()

    def _read(self) -> None:
        waiting, changed = self._waiting, self._changed
        try:
            for content in self._contents:
                if self._closed:
                    return
                if type(content) not in UNCHANGING:
                    content = take(content)  # as it is now: the iterable may use it again
                waiting.append(content)
                if not 1 < len(waiting) < self._limit:
                    with changed:
                        changed.notify_all()
                        while len(waiting) >= self._limit and not self._closed:
                            changed.wait()
        except BaseException as error:  # the caller's iterable ended like this: the job cannot be whole
            self._fail(error)
            self.close()
            return
        with changed:
            self._ended = True
            changed.notify_all()

    def _send_all(self) -> None:
        waiting, changed = self._waiting, self._changed
        try:
            while True:
                with changed:
                    while not waiting and not self._ended and not self._closed:
                        changed.wait()
                    if self._sent > self._answered and len(waiting) < self._limit and not self._ended:
                        changed.wait(FLUSH)  # something is on the way: there is time for company
                    ended = self._ended
                    part = [waiting.popleft() for _ in range(min(len(waiting), self._limit))]
                    changed.notify_all()
                if self._closed:
                    return
                if part:
                    self._send(part)
                elif ended:
                    self._close_feed()
                    return
        except BaseException as error:  # a content that cannot be carried
            self._fail(error)
            self.close()

    def _send(self, waiting: list[Any]) -> None:
        """Send what waits as one chunk, or one by one where contents are large."""
        try:
            blob = pack_many(waiting, taken=True)
            self._check([blob])
        except (NeedsBuffers, TooLarge):
            blob = None  # one by one: what is too large then fails alone
        if blob is not None and (len(blob) <= 4 * CHUNK_BYTES or len(waiting) == 1):
            self._limit = max(1, min(MANY_TASKS, CHUNK_BYTES * len(waiting) // max(1, len(blob))))
            self._send_chunk(len(waiting), [blob])
            return
        self._limit = 1
        for content in waiting:
            one, buffers = pack_one(content)
            self._check([one, *buffers])
            self._send_chunk(1, [one, *buffers])

    def _send_chunk(self, n: int, frames: list[Any]) -> None:
        self._room.acquire()
        if self._closed:
            return
        message = to_broker.Feed(
            job=self._job, seq=self._seq, first=self._first, n=n, metas=None, contents=frames
        )
        self._seq += 1
        self._first += n
        self._sent += 1
        self._io.ask(message).add_done_callback(self._acknowledged)

    def _acknowledged(self, future: Future[answers.Fed]) -> None:
        error = future.exception()
        if error is not None and not self._closed:
            self._fail(error)
        self._answered += 1
        self._room.release()

    def _close_feed(self) -> None:
        if self._closed:
            return
        message = to_broker.CloseFeed(job=self._job, chunks=self._seq, total=self._first)

        def closed(future: Future[answers.Fed]) -> None:
            error = future.exception()
            if error is not None and not self._closed:
                self._fail(error)

        self._io.ask(message).add_done_callback(closed)
