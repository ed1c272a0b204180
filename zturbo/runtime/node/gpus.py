"""Looks at the GPUs of this host for people, in a thread of its own: a driver that hangs holds nothing up.

Without ``nvidia-ml-py`` (the extra ``gpu``) there is no thread. Without a driver the thread ends at once.
"""

from __future__ import annotations

import logging
import threading
from importlib.util import find_spec

from zturbo.hardware.gpus import gpu_uses
from zturbo.wire.control.fields import COUNT
from zturbo.wire.control.gpu import MAX_GPUS, Gpu

__all__ = ["GpuWatch"]

log = logging.getLogger("zturbo.node")

EVERY = 1.0
"""Seconds between two looks, at least."""


class GpuWatch:
    """The GPUs of this host, as they were at the last look."""

    def __init__(self) -> None:
        self._found: tuple[Gpu, ...] = ()
        self._wanted = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._next = 0.0

    def latest(self, now: float) -> tuple[Gpu, ...]:
        """What was seen last; empty if nothing was, or nothing could be. Asks for another look.

        Args:
            now: monotonic seconds.
        """
        if now >= self._next:
            self._next = now + EVERY
            if self._thread is None and _is_installed():
                self._thread = threading.Thread(target=self._run, name="gpus", daemon=True)
                self._thread.start()
            self._wanted.set()
        return self._found

    def close(self) -> None:
        """End the thread, at once or when the driver answers; nobody waits for it."""
        self._closed = True
        self._wanted.set()

    def _run(self) -> None:
        try:
            with gpu_uses() as look:
                while look is not None and not self._closed:
                    self._wanted.wait()
                    self._wanted.clear()
                    if not self._closed:
                        self._found = tuple(
                            Gpu(
                                index=one.number,
                                uuid=one.uuid[:100],
                                name=one.name[:100],
                                load=None if one.load is None else min(100, max(0, one.load)),
                                used=min(COUNT, max(0, one.used)),
                                total=min(COUNT, max(0, one.total)),
                            )
                            for one in look()[:MAX_GPUS]
                        )
        except Exception as error:  # whatever a driver does, the node goes on
            log.debug("GPUs are not looked at: %s", error)
        finally:
            self._found = ()


def _is_installed() -> bool:
    try:
        return find_spec("pynvml") is not None
    except ValueError:  # another module of that name, without a file
        return False
