"""The processes of a ``System``: a broker, a sink, and the workers of its pipelines, under one node.

A thread makes the node and runs it, with SIGINT blocked: so Ctrl-C, which the parent handles, does not hit a
child that has just been started. Python raises KeyboardInterrupt in the main thread alone. So none comes
between the making of a folder or a process and the note that it has to be removed.
"""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
import threading
from pathlib import Path

from zturbo.api.options import Options
from zturbo.api.stage import Stage
from zturbo.client.client import Client
from zturbo.deploy.settings import BrokerSpec
from zturbo.deploy.shipped import MAX_TASK, shipped_workers
from zturbo.errors import StartError
from zturbo.errortext import error_text
from zturbo.runtime.disk.folders import runtime_dir, short_enough
from zturbo.runtime.net.host import host_name
from zturbo.runtime.net.limits import PER_RUNNING_CHILD, check_children
from zturbo.runtime.node.children import Child, ChildSpec
from zturbo.runtime.node.forking import Forking, start_forking
from zturbo.runtime.node.node import Node
from zturbo.runtime.process.boot import MODULES

__all__ = ["FEW", "SYSTEM", "Processes"]

log = logging.getLogger("zturbo.system")

SAY_EVERY = 30.0
"""Seconds between two log lines that tell which processes are not ready at the start."""

ANSWER = 60.0
"""Seconds that a question to the broker may take."""

SYSTEM = "zturbo.system.system"
"""What a program with a System imports, and so each worker whose stages are in the same module. The process
from which many workers are forked imports it once for all of them."""

FEW = 2
"""Workers for which that takes more time than it saves."""

STARTED = 5.0
"""Seconds after which the node's thread, if it has made no node, counts as not started."""


class Processes:
    """All processes of one System, running.

    Args:
        pipelines: name -> (names of its stages, the stages).
        state: folder of ledger and spool; None for a temporary one.
        task_timeout: seconds that one task may run; None for no limit.
        output: descriptor of the processes' stdout and stderr; None for this process's.

    Raises:
        StartError: a process could not start; with its traceback. No process is left behind.
    """

    def __init__(
        self,
        pipelines: dict[str, tuple[list[str], list[Stage]]],
        *,
        state: Path | None,
        task_timeout: float | None,
        output: int | None = None,
    ) -> None:
        self._output = output
        self._failures: list[str] = []
        self._error: BaseException | None = None
        self._node: Node | None = None
        self._forking: Forking | None = None
        self._client: Client | None = None
        self._folders: list[Path] = []
        self._address = ""
        self._records = state is not None
        self._made = threading.Event()
        self._ready = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        count = sum(stage.num_worker for _, stages in pipelines.values() for stage in stages)
        check_children(count + 2, PER_RUNNING_CHILD)  # with a broker and a sink
        workers = [
            ChildSpec("worker", f"{name}.{stage_name}", MODULES["worker"], told)
            for name, (names, stages) in pipelines.items()
            for index, stage_name in enumerate(names)
            for told in shipped_workers(name, names, index, stages[index], task_timeout)
        ]
        stage_names = {name: names for name, (names, _) in pipelines.items()}
        arguments = (stage_names, workers, state)
        try:
            self._thread = threading.Thread(target=self._run, args=arguments, name="zturbo-node", daemon=True)
            self._thread.start()
            self._wait()
        except BaseException:
            self.stop(kill=True)
            raise

    @property
    def client(self) -> Client:
        """A client of the broker."""
        assert self._client is not None
        return self._client

    def _wait(self) -> None:
        """Wait until all processes are ready, and make a client."""
        while not self._ready.wait(SAY_EVERY):
            children = self._node.children if self._node is not None else []
            late = [child.what.name for child in children if not child.is_ready]
            log.warning("not ready yet: %s", ", ".join(late) or "processes that are started again")
        if self._error is not None:
            raise self._error
        if self._failures:
            raise StartError(self._failures[0])
        self._client = Client(self._address, timeout=ANSWER)

    # -- the node's thread --------------------------------------------------------------------
    def _run(self, pipelines: dict[str, list[str]], workers: list[ChildSpec], state: Path | None) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            node = self._make(pipelines, workers, state)
            self._made.set()
            if not self._stopping:
                node.run(self._look)
        except BaseException as error:  # _wait raises it
            log.debug("the node has failed", exc_info=True)
            self._error = error
            if self._client is not None:  # after the start: no process is restarted, so jobs may never end
                log.critical("the processes are not watched any more: %s", error_text(error), exc_info=True)
                self._client.close()
        finally:
            self._made.set()
            self._ready.set()

    def _look(self) -> bool:
        if self._failures or (self._node is not None and self._node.ready):
            self._ready.set()
        return False

    def _make(self, pipelines: dict[str, list[str]], workers: list[ChildSpec], state: Path | None) -> Node:
        folder = sockets = Path(tempfile.mkdtemp(prefix="zturbo-system-"))
        self._folders = [folder]
        if not short_enough(str(folder.parent)):
            sockets = runtime_dir("zturbo-system-")
            self._folders.append(sockets)
        state = state or folder
        durability = "fsync" if self._records else "process"
        described = [
            {
                "name": name,
                "stages": names,
                "logs": True,
                "durability": durability,
                "max_task_bytes": MAX_TASK,
            }
            for name, names in pipelines.items()
        ]
        defaults = BrokerSpec()
        address = self._address = f"ipc://{sockets}/broker"
        broker = {
            "bind": address,
            "state": str(state),
            "lease": defaults.lease,
            "feed_timeout": defaults.feed_timeout,
            "limits": defaults.limits,
            "pipelines": described,
            "temporary": list(map(str, self._folders)),
        }
        sink = {"spool": str(state / "sink"), "results": f"ipc://{sockets}/results"}
        children = [
            ChildSpec("broker", "broker", MODULES["broker"], broker),
            ChildSpec("sink", "sink", MODULES["sink"], sink),
            *workers,
        ]
        shared = [SYSTEM] if len(workers) > FEW else []
        self._forking = start_forking([*MODULES.values(), *shared])
        node = self._node = Node(
            address,
            host=host_name(),
            on_event=self._on_event,
            output=self._output,
            forking=self._forking,
        )
        for child in children:
            child.spec.update(debug=Options.print_debug_log, log_file=Options.log_file)
            node.add(child)
        return node

    def _on_event(self, kind: str, child: Child, text: str) -> None:
        if kind == "failed":
            self._failures.append(f"{text}\n{child.traceback}".rstrip())
        elif kind == "exited" and self._node is not None and not self._node.stopping:
            log.warning("%s (process %d) exited: %s; it is started again", child.what.name, child.pid, text)

    def stop(self, *, kill: bool = False, timeout: float | None = None) -> None:
        """End all processes. Ctrl-C meanwhile kills those that are left.

        Args:
            kill: at once, so that they finish nothing.
            timeout: seconds after which processes that are left are killed; None for the node's own.
        """
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                self._stop(kill=kill or interrupt is not None, timeout=timeout)
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _stop(self, *, kill: bool, timeout: float | None) -> None:
        self._stopping = True
        client, thread = self._client, self._thread
        if client is not None:
            client.close()
        if thread is not None and self._made.wait(STARTED) and (node := self._node) is not None:
            node.stop()
            if kill:
                node.stop()
            thread.join(timeout)
            if thread.is_alive():
                node.stop()
                thread.join()
            self._node = None
            node.close()
            if self._forking is not None:
                self._forking.close()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
