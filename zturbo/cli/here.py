"""``zturbo stage --debug``: one worker in this process and on this terminal, so that a debugger works."""

from __future__ import annotations

import os
import pdb
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from zturbo.cli.printed import fail
from zturbo.errors import ZturboError
from zturbo.errortext import render
from zturbo.exitcodes import UNFIT_CODE
from zturbo.hardware.binding import bound_environment
from zturbo.runtime.members.worker import make_worker, serve
from zturbo.runtime.net.findings import LOOK, Examiner
from zturbo.runtime.net.host import host_name
from zturbo.runtime.node.alone import Alone
from zturbo.runtime.node.children import ChildSpec
from zturbo.runtime.process.childside import UNFIT, ChildSide

__all__ = ["run_here"]


class _Quit(BaseException):
    """``q`` in the debugger: this worker leaves, and its task goes to another worker."""


class _Debugger(pdb.Pdb):
    """The debugger that ``breakpoint()`` opens: it leaves Ctrl-C to this command, and its ``q`` leaves."""

    def __init__(self) -> None:
        super().__init__(nosigint=True)

    def do_quit(self, arg: str) -> bool | None:
        """Leave."""
        raise _Quit

    do_q = do_exit = do_EOF = do_quit


def _open_debugger(*args: Any, **kwargs: Any) -> None:
    _Debugger().set_trace(sys._getframe(1))


def _tell_of_broker(broker: str, joined: threading.Event) -> None:
    """Say what is seen of the broker until the worker has joined it, and that it has."""
    examiner = Examiner(broker, "broker")
    while not joined.wait(LOOK):
        if seen := examiner.news(time.monotonic(), answers=False):
            fail(f"no broker answers at {broker} yet: {seen}; this worker waits for it")
    fail(f"this worker has joined the broker at {broker}")


def run_here(child: ChildSpec, broker: str) -> int:
    """Run a worker in this process until Ctrl-C; returns the exit code.

    The worker has no node. So its own hellos renew its lease, no process starts it again, its tasks have no
    time-out, and it answers by itself when people look at it.

    Args:
        child: the worker's spec.
        broker: the broker's address.
    """
    os.environ.update(bound_environment(child.spec.get("resources"), os.environ))
    if "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _open_debugger
    incarnation = os.urandom(16)
    alone = Alone(incarnation)
    with tempfile.TemporaryDirectory(prefix="zturbo-debug-") as folder:
        side = ChildSide(
            {
                **child.spec,
                "broker": broker,
                "incarnation": incarnation,
                "node": incarnation,
                "host": host_name(),
                "folder": str(Path(folder) / "worker"),
                "running_fd": alone.running_fd,
                "ring_fd": alone.ring_fd,
                "ready_fd": -1,
            }
        )
        try:
            worker = make_worker(side)
        except (ZturboError, KeyboardInterrupt):
            raise
        except BaseException as error:  # __init__ and init() are user code
            fail(render(error).traceback.rstrip())
            fail(f"{child.name} does not start")
            return 2
        loop = worker.loop
        alone.answer(lambda seen: loop.post(lambda now: loop.tell(seen)))
        loop.on_look = alone.ask
        joined = threading.Event()
        loop.on_joined = joined.set
        threading.Thread(target=_tell_of_broker, args=(broker, joined), name="broker", daemon=True).start()
        line = f"{child.name} runs here, in process {os.getpid()}; breakpoint() works, Ctrl-C stops it"
        status = serve(worker, side, child.name, lambda: fail(line), leave=(KeyboardInterrupt, _Quit))
        return UNFIT_CODE if status == UNFIT else status
