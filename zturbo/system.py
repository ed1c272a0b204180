"""System: all of it on one host behind one object, as pyturbo has it."""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zturbo.client import Client, JobHandle
from zturbo.debug import DebugPipeline
from zturbo.deploy import host_name
from zturbo.errors import StartError, UsageError, ZturboError
from zturbo.options import Options
from zturbo.progress import Progress
from zturbo.resources import Resources
from zturbo.result import Result
from zturbo.runtime.children import Child, ChildSpec
from zturbo.runtime.node import Node
from zturbo.runtime.shipping import in_child, pack_stage
from zturbo.stage import Stage
from zturbo.task import Job, Task

__all__ = ["System"]

log = logging.getLogger("zturbo.system")

START_TIMEOUT = 60.0
"""Seconds that processes have to start."""


class System:
    """Pipelines of one kind on this host.

    Subclasses say what a pipeline's stages are::

        class MySystem(System):
            def get_stages(self, resources):
                return [Decode(resources), Detect(resources), Track(resources)]

        with MySystem() as system:
            system.add_job(Job("clip", Task("bikes.mp4")))
            job = system.wait_job()
            print(job.results)

    Args:
        num_pipeline: how many pipelines; default what :meth:`get_num_pipeline` says.
        debug: run all stages in this process, one after another.
        pipeline_queue_size: kept for pyturbo's sake; queues are bounded by themselves.
        resource_scan_args: for :class:`zturbo.Resources`.
        custom: for :meth:`get_num_pipeline`.
    """

    def __init__(
        self,
        num_pipeline: int | None = None,
        *,
        debug: bool = False,
        pipeline_queue_size: int = 16,
        resource_scan_args: dict[str, Any] | None = None,
        **custom: Any,
    ) -> None:
        self.debug_mode = debug or Options.single_sync_pipeline
        self.resources = Resources(**(resource_scan_args or {}))
        if num_pipeline is None:
            num_pipeline = self.get_num_pipeline(self.resources, **custom)
        if not isinstance(num_pipeline, int) or num_pipeline < 1:
            raise UsageError(f"num_pipeline is to be an int of 1 or more, not {num_pipeline!r}")
        self.num_pipeline = 1 if self.debug_mode else num_pipeline
        self.result_queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.logger = log
        self._waiting: list[Job] = []
        self._in_flight: list[int] = []
        self._lock = threading.Lock()
        self._count = 0
        self._started = False
        self._over = False
        self._node: Node | None = None
        self._client: Client | None = None
        self._thread: threading.Thread | None = None
        self._state: Path | None = None
        self._debug: DebugPipeline | None = None
        self._failures: list[str] = []
        self._handles: dict[bytes, JobHandle] = {}
        self._progress: Progress | None = None

    # -- what subclasses say ------------------------------------------------------------------
    def get_num_pipeline(self, resources: Resources, **custom: Any) -> int:
        """How many pipelines share the host."""
        return 1

    def get_stages(self, resources: Resources) -> list[Stage]:
        """The stages of one pipeline, with its part of the resources."""
        raise NotImplementedError(f"{type(self).__name__}.get_stages is not written")

    def get_results(self, results_gen: Iterable[Task]) -> Any:
        """What becomes ``job.results``, of the job's output tasks in order."""
        result = Result()
        for task in results_gen:
            result.collect(task)
        return result

    def collect_results(
        self, job: Job, results_gen: Iterable[Task], *, result_cls: type[Result] = Result
    ) -> None:
        """Sets ``job.results``; override it, or ``get_results``."""
        if type(self).get_results is not System.get_results:
            job.results = self.get_results(results_gen)
            return
        job.results = result_cls()
        for task in results_gen:
            try:
                job.results.collect(task)
            except Exception:  # a Result subclass is the user's code: one task must not lose the others
                log.exception("%s.collect failed for %r", result_cls.__name__, task)

    # -- life ---------------------------------------------------------------------------------
    def __enter__(self) -> System:
        if not self._started:
            self.start()
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            self.end()
        else:
            self.terminate()

    def start(self, *, task_timeout: float | None = None, queue_timeout: float | None = None) -> None:
        """Start all processes; returns when they run.

        Raises:
            StartError: one of them could not start; with its traceback.
        """
        if in_child():
            raise RuntimeError(
                "a System is started while a worker imports the main script: put what starts it under "
                "if __name__ == '__main__':"
            )
        pipelines = [self.get_stages(part) for part in self.resources.split(self.num_pipeline)]
        for stages in pipelines:
            for stage in stages:
                if not isinstance(stage, Stage):
                    raise UsageError(f"get_stages gave {stage!r}, which is no Stage")
        if self.debug_mode:
            self._debug = DebugPipeline(pipelines[0])
        else:
            self._start_processes(pipelines)
        self._started = True

    def _start_processes(self, pipelines: list[list[Stage]]) -> None:
        self._state = Path(tempfile.mkdtemp(prefix="zturbo-system-"))
        address = f"ipc://{self._state}/broker"
        node = self._node = Node(address, host=host_name(), on_event=self._on_event)
        self._in_flight = [0] * len(pipelines)
        described = []
        children = []
        for number, stages in enumerate(pipelines):
            names = _names(stages)
            name = f"pipeline-{number}"
            described.append({"name": name, "stages": names, "logs": True, "durability": "process"})
            for index, stage in enumerate(stages):
                pickled = pack_stage(stage)
                for worker_id in range(stage.num_worker):
                    spec = {
                        "pipeline": name,
                        "stage": names[index],
                        "index": index,
                        "stages": len(stages),
                        "pickled": pickled,
                        "worker_id": worker_id,
                        "max_task_bytes": 1 << 30,
                    }
                    children.append(ChildSpec("worker", f"{name}.{names[index]}", _WORKER, spec))
        broker = {"bind": address, "state": str(self._state), "lease": 5.0, "pipelines": described}
        node.add(ChildSpec("broker", "broker", "broker", broker))
        sink = {"spool": str(self._state / "sink"), "results": f"ipc://{self._state}/results"}
        node.add(ChildSpec("sink", "sink", "zturbo.runtime.sink", sink))
        for child in children:
            node.add(child)
        ready = threading.Event()

        def until() -> bool:
            if self._failures or node.ready:
                ready.set()
            return False

        self._thread = threading.Thread(target=node.run, args=(until,), name="zturbo-node", daemon=True)
        self._thread.start()
        try:
            if not ready.wait(START_TIMEOUT):
                raise StartError(f"not all processes were ready within {START_TIMEOUT:.0f} s")
            if self._failures:
                raise StartError(self._failures[0])
            self._client = Client(address, timeout=START_TIMEOUT)
        except BaseException:
            self._stop(kill=True)
            raise
        if not Options.no_progress_bar:
            self._show_progress(self._client)

    def _on_event(self, kind: str, child: Child, text: str) -> None:
        if kind == "failed":
            self._failures.append(f"{text}\n{child.traceback}".rstrip())
        elif kind == "exited" and self._node is not None and not self._node.stopping:
            log.warning("%s (process %d) exited: %s; it is started again", child.what.name, child.pid, text)

    def _show_progress(self, client: Client) -> None:
        progress = self._progress = Progress()

        def watch() -> None:
            pause = threading.Event()
            while not self._over:
                try:
                    progress.update(client.jobs())
                except ZturboError:
                    return
                pause.wait(0.25)

        threading.Thread(target=watch, name="zturbo-progress", daemon=True).start()

    def end(self) -> None:
        """Stop all processes. Jobs that are not done are lost."""
        self._stop(kill=False)

    def terminate(self) -> None:
        """Stop all processes at once."""
        self._stop(kill=True)

    def _stop(self, *, kill: bool) -> None:
        self._over = True
        if self._progress is not None:
            self._progress.close()
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._node is not None and self._thread is not None:
            self._node.stop()
            if kill:
                self._node.stop()
            self._thread.join()
            self._node.close()
            self._node = None
        if self._state is not None:
            shutil.rmtree(self._state, ignore_errors=True)

    # -- jobs ---------------------------------------------------------------------------------
    def add_job(self, job: Job, *, timeout: float | None = None) -> None:
        """Submit a job; it comes back through :meth:`wait_job` or ``result_queue``."""
        if not isinstance(job, Job):
            raise UsageError(f"add_job takes a Job, not {type(job).__name__}")
        if not self._started:
            raise UsageError("the system is not started: call start(), or use it in a with statement")
        with self._lock:
            self._count += 1
        if self._debug is not None:
            self._waiting.append(job)
            return
        self._submit(job)

    def add_jobs(self, jobs: Iterable[Job], *, timeout: float | None = None) -> None:
        """Submit several."""
        for job in jobs:
            self.add_job(job)

    def _submit(self, job: Job) -> None:
        assert self._client is not None
        with self._lock:
            number = min(range(len(self._in_flight)), key=self._in_flight.__getitem__)
            self._in_flight[number] += 1
        handle = self._client.submit(job, pipeline=f"pipeline-{number}")
        self._handles[job.id] = handle
        threading.Thread(
            target=self._collect, args=(job, handle, number), name=f"collect-{job.name}", daemon=True
        ).start()

    def _collect(self, job: Job, handle: JobHandle, number: int) -> None:
        try:
            self._gather(job, handle.tasks())
            handle.release()
            job.success = True
        except ZturboError as error:
            if self._over:
                return
            log.error("job %s failed: %s", job.name, error)
            job.error = error
        except Exception as error:  # get_results is the user's code
            log.exception("the results of job %s could not be collected", job.name)
            job.error = error
        finally:
            with self._lock:
                self._in_flight[number] -= 1
                self._handles.pop(job.id, None)
        if not job.success and job.retry > 0 and not self._over and not Options.raise_exception:
            job.retry -= 1
            again = Job(job.name, job.task)
            job.id = again.id
            self._submit(job)
            return
        self.result_queue.put(job)

    def _gather(self, job: Job, tasks: Iterator[Task]) -> None:
        def checked() -> Iterator[Task]:
            for task in tasks:
                if not task.success and Options.raise_exception and task.error is not None:
                    raise task.error
                yield task

        self.collect_results(job, checked())
        if isinstance(job.results, Result):
            job.results.merge(job)

    def wait_job(self, *, job_timeout: float | None = None, queue_timeout: float | None = None) -> Job:
        """The next job that has ended.

        Args:
            job_timeout: seconds to wait.

        Raises:
            TimeoutError: none ended in time.
            Exception: with the option ``raise_exception``, what failed.
        """
        if self._debug is not None and self._waiting:
            self._run_debug(self._waiting.pop(0))
        try:
            job = self.result_queue.get(timeout=job_timeout)
        except queue.Empty:
            raise TimeoutError(f"no job ended within {job_timeout} s") from None
        if job.error is not None and Options.raise_exception:
            raise job.error
        return job

    def wait_jobs(
        self, num_jobs: int, *, job_timeout: float | None = None, queue_timeout: float | None = None
    ) -> Iterator[Job]:
        """The next so many jobs, as they end."""
        for _ in range(num_jobs):
            yield self.wait_job(job_timeout=job_timeout)

    def _run_debug(self, job: Job) -> None:
        assert self._debug is not None
        try:
            self._gather(job, self._debug.run(job.task, logs=True))
            job.success = True
        except Exception as error:  # get_results is the user's code; without the option it fails the job
            log.exception("job %s failed", job.name)
            job.error = error
        self.result_queue.put(job)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'debug' if self.debug_mode else f'x{self.num_pipeline}'})"


_WORKER = "zturbo.runtime.worker"


def _names(stages: list[Stage]) -> list[str]:
    names: list[str] = []
    for stage in stages:
        name = type(stage).__name__
        count = sum(other == name or other.startswith(f"{name}-") for other in names)
        names.append(f"{name}-{count + 1}" if count else name)
    return names
