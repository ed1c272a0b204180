"""The client: submits jobs and reads their results, from any process on any host.

    with Client("tcp://127.0.0.1:5555") as client:
        job = client.submit(Job("clip", Task("bikes.mp4")), pipeline="video")
        for content in job.stream():
            ...

A job lives at the broker, not in the client: a client may leave, and the same or another one may
:meth:`Client.attach` to the job later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent import futures
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from zturbo.api.pipeline import Pipeline, PipelineName, name_of
from zturbo.api.stage import In, Out
from zturbo.api.task import Job, Task
from zturbo.checks import (
    check_count,
    check_seconds,
    check_text,
    check_timeout,
    check_type,
    is_address,
    wrong,
)
from zturbo.client.acceptance import Acceptance
from zturbo.client.connection import connect
from zturbo.client.handle import JobHandle
from zturbo.client.hosts import by_host, measurements
from zturbo.client.job_ids import is_job_id, job_id_of, joined, pick_job, with_text_ids
from zturbo.client.looks import look, pick_processes, stack_map, trace
from zturbo.client.maps import begin_map
from zturbo.client.submissions import OnError
from zturbo.client.tracecontext import JobContexts
from zturbo.errors import ResultTimeout, UsageError, ZturboError
from zturbo.htmltext import facts, table
from zturbo.telemetry.seen import Profile, Where, read_profile, read_stack
from zturbo.wire.control import answers, to_broker
from zturbo.wire.control.fields import MAX_PAGE

if TYPE_CHECKING:
    from zturbo.client.report import RunReport

__all__ = ["DEFAULT_BROKER", "Client", "JobHandle", "OnError", "ReturnWhen", "Waited"]

DEFAULT_BROKER = "tcp://127.0.0.1:5555"

log = logging.getLogger("zturbo.client")

LEVELS = tuple(to_broker.LEVELS.values())
"""Names of the levels of a log line, the lowest first."""


def levels_from(level: str) -> tuple[str, ...]:
    """This level of a log line, and all higher ones."""
    return LEVELS[LEVELS.index(level) :]


ReturnWhen = Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]


class Waited(NamedTuple):
    """What :meth:`Client.wait_jobs` found, as :func:`concurrent.futures.wait` gives it."""

    done: set[JobHandle]
    """Those that have ended, in whatever way."""
    not_done: set[JobHandle]


class Client:
    """Submits jobs to a broker, and reads their results.

    Args:
        broker: its address; default ``$ZTURBO_BROKER``, else ``tcp://127.0.0.1:5555``.
        timeout: seconds that a question to the broker may take.
        keys: a file of keys, or a folder with one, as ``zturbo keys`` makes them; default ``$ZTURBO_KEYS``,
            else those that a broker of this user on loopback has made, else no keys. A broker on ipc needs
            none.

    Raises:
        AccessDenied: the broker does not let this key in, or it needs one and there is none.
        BrokerUnavailable: no broker answers there.
        VersionMismatch: the broker speaks another protocol version.

    Attributes:
        role: of its key: ``admin``, ``client`` or ``viewer``; empty without keys.
        connection: the parts that its handles share; not for programs.
    """

    def __init__(
        self,
        broker: str | None = None,
        *,
        timeout: float = 5.0,
        keys: str | os.PathLike[str] | None = None,
    ) -> None:
        self.broker = broker or os.environ.get("ZTURBO_BROKER") or DEFAULT_BROKER
        check_type("Client: broker", self.broker, str, "an address, tcp://HOST:PORT or ipc://PATH")
        if not is_address(self.broker):
            raise UsageError(
                f"{self.broker!r} is not an address of a broker: expected tcp://HOST:PORT or ipc://PATH, "
                "as an argument, by --broker or in $ZTURBO_BROKER"
            )
        check_type("Client: keys", keys, (str, os.PathLike, type(None)), "a file, a folder or None")
        check_seconds("Client: timeout", timeout)
        self.timeout = timeout
        self.connection, self.role = connect(self.broker, timeout, keys)
        self.info = self.connection.info
        self._contexts = JobContexts()

    def _repr_html_(self) -> str:
        """For notebooks: the broker's pipelines and their workers, as far as the broker answers."""
        try:
            pipelines = self.pipelines()
        except ZturboError as error:
            return facts([("broker", self.broker), ("status", f"not known: {error}")])
        rows = [
            (f"{one['name']}.{stage}", workers, one["problems"].get(stage, ""))
            for one in pipelines
            for stage, workers in zip(one["stages"], one["workers"], strict=True)
        ]
        return table(("stage", "workers", "problem"), rows, f"broker {self.broker}")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self.connection.leave(failing=kind is not None)

    def close(self) -> None:
        """Disconnect, once the broker has taken or refused all jobs that were submitted.

        It waits for room at the broker, too, with a warning; the end of a ``with`` by an exception does not.
        Jobs go on; a handle that waits for its job's end gets BrokerUnavailable. A client that the program
        drops is closed too. In a forked child this has no effect.

        Raises:
            BrokerUnavailable: the broker did not answer for some jobs; the client is closed all the same.
        """
        self.connection.close()

    def submit(
        self, job: Job | Task, pipeline: PipelineName, *, wait: bool = False, **options: Any
    ) -> JobHandle:
        """Submit a job; returns its handle at once.

        The job is safe once the broker has it in its ledger: from the return of :meth:`JobHandle.accepted`,
        of :meth:`flush`, or of the ``with`` block on.

        Jobs go to the broker in their order, many in one message where they come fast. With very many that
        the broker has not answered for, this waits until there is room.

        Args:
            job: a job, or its root task alone.
            pipeline: name of the pipeline.
            wait: return when the broker has the job in its ledger, and raise if it refuses the job.
                Otherwise a refusal comes from the handle.
            options: ``durability`` ("fsync", "process", "memory"), ``order`` of the outputs ("path";
                "roots", by root, and roots as they end; "meta:KEY", by a number from 0 that each has in
                its meta; "none", as they come),
                ``priority`` (higher goes first), ``timeout`` (seconds for the job as a whole),
                ``max_retry`` (how often it is run again for its failed tasks), ``fail_fast`` (True: the first
                failed task ends the job with JobFailed; else failed tasks are collected),
                ``logs`` (True: each task of :meth:`JobHandle.tasks` has its time at each stage in
                ``task.logs``; default: as the network file says, which is no if it says nothing),
                ``traceparent`` (context of the caller's trace, in the W3C's form; default: that of
                OpenTelemetry's current span).

        Raises:
            UsageError: an argument or an option is unknown, or of a wrong type.
            UnknownPipeline: the broker has no pipeline of that name.
            EncodeError: the content cannot be carried.
            TooLarge: the content is over the pipeline's limit.
            JobConflict: with ``wait``; else from the handle: another job was submitted under this id.
            BrokerUnavailable: likewise: the broker does not answer in time. Submit the same Job object again:
                it stays one job, if the broker has taken it after all.
        """
        connection, pipeline = self.connection, name_of(pipeline)
        wait = connection.submissions.awaits_answer(wait, pipeline)
        job_id, name, acceptance = connection.submit_job(job, pipeline, options)
        handle = JobHandle(connection, job_id, name, acceptance, 0)
        return handle.accepted() if wait else handle

    def submit_many(
        self, jobs: Iterable[Job | Task], pipeline: PipelineName, **options: Any
    ) -> list[JobHandle]:
        """Submit each of these jobs. Arguments, and what is raised, as of :meth:`submit`.

        Jobs before one that raises have been submitted; give such a list ids of your own to submit it again.
        """
        return [self.submit(job, pipeline, **options) for job in jobs]

    def flush(self, timeout: float | None = None) -> None:
        """Wait until the broker has answered for all jobs that were submitted: those that it took are safe.

        Args:
            timeout: seconds to wait; None for as long as the client's questions to the broker may take.

        Raises:
            BrokerUnavailable: it did not answer for some of them. A refusal comes from the job's handle.
        """
        timeout = check_timeout("flush: timeout", timeout)
        self.connection.flush(timeout)

    @overload
    def map(
        self,
        contents: Iterable[In],
        pipeline: Pipeline[In, Out],
        *,
        ordered: bool = ...,
        name: str = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Any,
    ) -> Generator[Out, None, None]: ...
    @overload
    def map(self, contents: Iterable[Any], pipeline: str, **options: Any) -> Generator[Any, None, None]: ...
    def map(
        self,
        contents: Iterable[Any],
        pipeline: Any,
        *,
        ordered: bool = True,
        name: str = "map",
        on_error: OnError = "raise",
        **options: Any,
    ) -> Generator[Any, None, None]:
        """Run each content through the pipeline, as one job of many root tasks.

        Memory is bounded: ``contents`` is read only as far ahead as the pipeline takes it, and the
        results wait on the sink's disk. The job is cancelled when the iterator is closed or dropped
        (``contextlib.closing`` closes it at the end of a block). It stays in the list of jobs. Its results
        are deleted at its end, unless tasks failed: up to 64 MiB stay, so that these can be run again.

        Args:
            contents: any iterable; read in a thread of its own.
            pipeline: its name; a :class:`zturbo.Pipeline` knows the types of its contents.
            ordered: results in the order of ``contents``; else as they come.
            name: of the job.
            on_error: for a failed task, ``raise`` its error at its place, ``skip`` it, or ``return`` the
                error among the contents; the error's ``task`` has its input, stage and host.
            options: as of :meth:`submit`.

        Yields:
            Contents of the pipeline's outputs.
        """
        pipeline = name_of(pipeline)
        submission = self.connection.submissions.mapping(contents, pipeline, ordered, name, on_error, options)
        return begin_map(self.connection, contents, pipeline, submission, on_error, self.timeout)

    def map_tasks(
        self, contents: Iterable[Any], pipeline: PipelineName, **options: Any
    ) -> Generator[Task, None, None]:
        """As :meth:`map`, but yields tasks with their meta, and failed tasks in their places."""
        pipeline = name_of(pipeline)
        submission = self.connection.submissions.mapping(contents, pipeline, True, "map", "raise", options)
        return begin_map(self.connection, contents, pipeline, submission, None, self.timeout)

    def attach(self, job_id: bytes | str, *, from_start: bool = False) -> JobHandle:
        """A handle of a job that this client or another one has submitted.

        Args:
            job_id: the job's id, as many of its first digits as are unique, or its name.
            from_start: ``stream()`` and ``tasks()`` give all results; else they go on at the cursor, after
                the results that clients have taken. ``result()`` gives all results in any case.

        Raises:
            UsageError: the broker does not have such a job (any more), or has more than one.
        """
        raw = self._find("attach: job_id", job_id)
        check_type("attach: from_start", from_start, bool, "True or False")
        value = self.connection.ask(to_broker.Attach(job=raw))
        return JobHandle(self.connection, raw, value.name, Acceptance.of(value), 0 if from_start else -1)

    def _find(self, field: str, job: bytes | str | JobHandle) -> bytes:
        """The id of the job that ``job`` names."""
        job = job.id if isinstance(job, JobHandle) else job
        if isinstance(job, str) and not is_job_id(job):
            return job_id_of(field, pick_job(self.jobs(), job)["id"])
        return job_id_of(field, job)

    # -- many jobs ----------------------------------------------------------------------------
    def as_completed(self, handles: Iterable[JobHandle], timeout: float | None = None) -> Iterator[JobHandle]:
        """Yield each handle when its job ends, in whatever way; those of ended jobs come first.

        Args:
            handles: of any jobs; one that is given twice comes once.
            timeout: seconds for all of them together.

        Raises:
            ResultTimeout: not all ended in time.
            UsageError: one of them is no handle.
        """
        timeout = check_timeout("as_completed: timeout", timeout)
        return self._as_completed(_handles("as_completed", handles), timeout)

    def _as_completed(self, handles: list[JobHandle], timeout: float | None) -> Iterator[JobHandle]:
        try:
            for handle in futures.as_completed(handles, timeout):
                assert isinstance(handle, JobHandle)
                yield handle
        except futures.TimeoutError as error:
            raise ResultTimeout(f"not all jobs ended in time: {error}") from None

    def wait_jobs(
        self,
        handles: Iterable[JobHandle],
        timeout: float | None = None,
        return_when: ReturnWhen = "ALL_COMPLETED",
    ) -> Waited:
        """Wait for jobs to end, as :func:`concurrent.futures.wait` does.

        Args:
            handles: of any jobs.
            timeout: seconds after which the call returns, however many have ended.
            return_when: ``ALL_COMPLETED``; ``FIRST_COMPLETED``; or ``FIRST_EXCEPTION``: when one job has
                failed, or all have ended. A job that is done with failed tasks has not failed (see
                ``fail_fast``).

        Raises:
            UsageError: one of them is no handle, or another argument is wrong.
        """
        timeout = check_timeout("wait_jobs: timeout", timeout)
        if return_when not in ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"):
            raise wrong(
                "wait_jobs: return_when",
                return_when,
                "'ALL_COMPLETED', 'FIRST_COMPLETED' or 'FIRST_EXCEPTION'",
            )
        waited = futures.wait(_handles("wait_jobs", handles), timeout, return_when)
        return Waited(set(waited.done), set(waited.not_done))  # type: ignore[arg-type]

    # -- what the broker has ------------------------------------------------------------------
    def jobs(self, job_id: bytes | str | JobHandle | None = None) -> list[dict[str, Any]]:
        """Status of all jobs that the broker knows, or of one, named as for :meth:`attach`."""
        return list(self.describe(job_id)["jobs"])

    def pipelines(self) -> list[dict[str, Any]]:
        """The broker's pipelines: their stages, how many workers each stage has, why workers do not start."""
        return list(self.describe(most=0)["pipelines"])

    def hosts(self) -> list[dict[str, Any]]:
        """The hosts on which the broker knows processes, its own host first, as ``zturbo hosts`` shows them.

        Returns:
            For each a map with ``host``; ``address``, at which others reach it, or None; ``cpu`` (percent of
            one core) and ``memory`` (bytes) of all its processes together; ``heard``, the seconds since the
            broker last heard of it; ``gpus``; and ``processes``. Each GPU has ``index``, ``uuid``, ``name``,
            ``load`` (percent, or None), and ``used`` and ``total`` (bytes of memory), as NVML sees it. Each
            process has ``name``, ``pid``, ``addresses``, ``results`` (where clients reach a sink),
            ``incarnation``, ``version`` (of zturbo), ``python``, ``code`` (the stage's fingerprint),
            ``heard``, ``cpu`` and ``memory``.
        """
        return by_host(self.connection.ask(to_broker.Members()))

    def telemetry(self) -> dict[str, Any]:
        """What the processes have measured of themselves, as ``zturbo top`` shows it.

        Returns:
            A map with ``pipelines``, ``members``, and ``gpus`` (host to its GPUs, as :meth:`hosts` has them).
            Each pipeline has ``name``, ``stages``, ``wanted`` (the workers of each stage that nodes are to
            keep running) and ``backlog`` (root tasks that wait at the broker). Each member has ``name``,
            ``pipeline``, ``stage``, ``host``, ``pid``, ``incarnation``, ``ordered``, ``heard`` and ``age``
            (seconds since it was heard, and since its latest report), and two reports, ``latest`` and
            ``before``, or None. See :class:`zturbo.wire.control.report.Report` for what is in a report.
        """
        ask = self.connection.ask
        pages = [ask(to_broker.Telemetry())]
        while pages[-1].next:
            pages.append(ask(to_broker.Telemetry(after=pages[-1].next)))
        return measurements(pages)

    def stacks(self, what: str | None = None) -> list[dict[str, Any]]:
        """What workers do at this moment, as ``zturbo stack`` shows it.

        Their nodes ask them by a signal that C code answers. So it works while the stage's code holds the
        interpreter, and it changes nothing.

        Args:
            what: a stage (``video.detect`` or ``detect``), a process id, ``HOST:PID``, the first digits of an
                incarnation, or ``sink``; None for all workers.

        Returns:
            For each process a map with ``name``, ``host``, ``pid``, ``incarnation``; ``tasks`` that run
            (``job``, ``path``, ``epoch``, ``given``: outputs so far, ``seconds``: how long it has run,
            ``frames``: where its coroutine stands, empty for a stage that is not ``async def``);
            ``frames`` of the stage's code, the innermost first (``file``, ``line``, ``function``);
            ``threads``, each with all its frames, the main thread first; and a ``note``: why there is no
            stack, else empty.

        Raises:
            UsageError: there is no such stage and no such process, or the stage has no worker now.
        """
        picked = self._picked(what)
        found = look(self.connection, [one.incarnation for one in picked], "stack", 0, read_stack)
        return [stack_map(process, one) for process, one in zip(picked, found, strict=True)]

    def _picked(self, what: str | None) -> list[answers.Process]:
        """Processes that a person names, or all workers."""

        if what is not None:
            check_type("what", what, str, "the name of a stage or a process, or None")

        def stages() -> list[str]:
            return [f"{one['name']}.{stage}" for one in self.pipelines() for stage in one["stages"]]

        return pick_processes(self.connection.ask(to_broker.Members()).processes, what, stages)

    def profile(
        self, what: str | None = None, seconds: int = 10
    ) -> list[tuple[dict[str, Any], Profile | None]]:
        """Where the main threads of workers spend some seconds, as ``zturbo profile`` writes it.

        Their nodes look at their stacks 50 times a second.

        Args:
            what: as for :meth:`stacks`.
            seconds: for which to look, 1 to 600.

        Returns:
            For each process a map as of :meth:`stacks`, without tasks and frames, and its profile; None with
            a ``note`` that says why there is none.

        Raises:
            UsageError: there is no such stage and no such process, the stage has no worker now, or
                ``seconds`` is out of bounds.
        """
        seconds = check_count("profile: seconds", seconds, 1)
        if seconds > to_broker.MAX_SECONDS:
            raise wrong("profile: seconds", seconds, f"a number from 1 to {to_broker.MAX_SECONDS}")
        picked = self._picked(what)
        targets = [one.incarnation for one in picked]
        found = look(self.connection, targets, "profile", seconds, read_profile)
        return [
            (stack_map(process, one), None)
            if isinstance(one, ZturboError)
            else (stack_map(process, Where((), "", one.note)), one)
            for process, one in zip(picked, found, strict=True)
        ]

    def trace(self, job: bytes | str | JobHandle | None = None, *, last: float = 60.0) -> dict[str, Any]:
        """What all workers did lately, as ``zturbo trace`` writes it: for :func:`json.dump`.

        Perfetto (https://ui.perfetto.dev) and chrome://tracing open the file: one track a worker; slices of
        code, waiting, sending and being held back; arrows along the way of tasks; deaths as instants.

        Args:
            job: show the code of this job alone: its handle, or named as for :meth:`attach`.
            last: seconds to go back; workers keep some minutes.

        Raises:
            UsageError: there is no such job.
        """
        check_type("trace: last", last, Real, "seconds, more than 0")
        check_seconds("trace: last", last)
        raw = None if job is None else self._find("trace: job", job)
        return trace(self, raw, last)

    def report(self, path: str | os.PathLike[str]) -> RunReport:
        """For a ``with`` statement: writes a page on all that runs in it, as one HTML file.

        It shows which stage limits each pipeline and what to do about it, times per stage, what each worker
        did at each moment, the memory of each process, warnings, hosts and versions. Workers keep what they
        did for some minutes.

        Args:
            path: the file to write, at the end of the block.

        Raises:
            UsageError: its folder does not exist.
        """
        from zturbo.client.report import RunReport  # which few programs need

        check_type("report: path", path, (str, os.PathLike), "a path")
        file = Path(path)
        if not file.parent.is_dir():
            raise UsageError(f"report: path: there is no folder {file.parent}")
        return RunReport(self, file)

    def logs(
        self, job: bytes | str | JobHandle | None = None, *, source: str = "", level: str = "DEBUG"
    ) -> list[dict[str, Any]]:
        """What happened, and what stages have printed and logged, as ``zturbo logs`` shows it.

        The lines of a job are there as long as the broker keeps the job, up to 1 MiB. Of all others it
        remembers some thousands.

        Args:
            job: lines about this job only: its handle, or named as for :meth:`attach`.
            source: lines of this source only: ``broker``, or a stage such as ``video.detect``.
            level: the lowest level: ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.

        Returns:
            A map for each line, in order: ``number``; ``at`` (seconds since 1970, by the broker's clock);
            ``level``; ``source``; ``host`` and ``pid`` of the process that said it; ``job`` and ``path`` of
            the task that ran, None and empty if that is not known; ``text``; ``trace_id`` and ``span_id`` of
            the caller that submitted the job, None if it had no trace.

        Raises:
            UsageError: there is no such job or level.
        """
        if level not in LEVELS:
            raise wrong("logs: level", level, ", ".join(LEVELS))
        wanted = levels_from(level)
        found, after, more = self.log_page(0, job=job, source=source)
        while more:
            some, after, more = self.log_page(after, job=job, source=source)
            found += some
        return self.with_traces([line for line in found if line["level"] in wanted])

    def with_traces(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give log lines ``trace_id`` and ``span_id``, as :meth:`logs` does: for programs that follow them.

        Args:
            lines: as :meth:`log_page` gives them.

        Returns:
            The same lines.
        """
        self._contexts.add_to(lines, self.describe)
        return lines

    def log_page(
        self, after: int = 0, *, job: bytes | str | JobHandle | None = None, source: str = ""
    ) -> tuple[list[dict[str, Any]], int, bool]:
        """Some log lines, for programs that follow them.

        Args:
            after: number of the last line that the caller has.
            job: as for :meth:`logs`.
            source: as for :meth:`logs`.

        Returns:
            Lines, as :meth:`logs` gives them; the ``after`` of the next call; and whether there are more now.
        """
        raw = None if job is None else self._find("logs: job", job)
        source = check_text("logs: source", source)
        page = self.connection.ask(to_broker.Logs(after=after, job=raw, source=source))
        entries = [
            {**entry.as_map(), "job": entry.job.hex() if entry.job else None, "path": list(entry.path)}
            for entry in page.entries
        ]
        return entries, page.last, page.more

    def describe(
        self, job_id: bytes | str | JobHandle | None = None, *, most: int | None = None, after: int = 0
    ) -> dict[str, Any]:
        """The broker's account of itself.

        Args:
            job_id: the only job to describe, named as for :meth:`attach`; None for all jobs.
            most: describe so many jobs at most, 1000 at once: those that are not over first, in the order of
                submission; then those that have ended, the one that was submitted last first.
            after: where this page of jobs begins: the ``next`` of the page before.

        Returns:
            A map with ``jobs``, ``pipelines``, the ``trouble`` that the broker is in or None, ``totals`` (the
            number of jobs in each state), and ``next`` (0 if no page is left).
        """
        raw = None if job_id is None else self._find("job_id", job_id)
        question = self.connection.io.complete.question
        if raw is not None or most is not None:
            page = question(raw, MAX_PAGE if most is None else most, after)
            return with_text_ids(self.connection.ask(page))
        pages = [self.connection.ask(question(None))]
        while pages[-1].next:
            pages.append(self.connection.ask(question(None, after=pages[-1].next)))
        return with_text_ids(joined(pages))


def _handles(where: str, handles: Iterable[JobHandle]) -> list[JobHandle]:
    """Handles in the order given, each once."""
    if isinstance(handles, JobHandle) or not isinstance(handles, Iterable):
        raise wrong(f"{where}: handles", handles, "an iterable of handles, as submit and attach give them")
    found = list(handles)
    for i, handle in enumerate(found):
        check_type(f"{where}: handles[{i}]", handle, JobHandle, "a handle, as submit and attach give it")
    return list(dict.fromkeys(found))
