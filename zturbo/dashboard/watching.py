"""Asks the broker twice a second, once for all who look, and keeps the last minutes.

Jobs are asked about less often where there are many.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zturbo.client.client import Client
from zturbo.client.job_ids import is_job_id
from zturbo.client.looks import look
from zturbo.dashboard.stream import Streams
from zturbo.errors import ZturboError
from zturbo.telemetry.flow import by_pipeline, worker_of
from zturbo.telemetry.seen import Traces, read_traces
from zturbo.telemetry.totals import Totals
from zturbo.terminal.progress import REST
from zturbo.terminal.top import as_map

__all__ = ["Watcher"]

log = logging.getLogger("zturbo.dashboard")

EVERY = 0.5
"""Seconds between two questions to the broker."""

PAGE = 300
"""Jobs that are looked at: those that are not over, then those that ended last."""

KEPT = 300.0
"""Seconds of each worker's past that are kept."""

LINES = 5000
"""Log lines that are kept."""

LANES = 1000
"""Workers whose past is kept, with those that have left."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

PAGES = 20
"""Questions for the older lines of a job at most; what the broker keeps of a job is less."""

FRESH = 10.0
"""Seconds for which the older lines of a job are shown again without a question."""


class Watcher:
    """What is known of the network.

    Args:
        broker: its address.
        connect: makes a client of it.
    """

    def __init__(self, broker: str, connect: Callable[[], Client]) -> None:
        self.broker = broker
        self._connect = connect
        self.client: Client | None = None
        """None while no broker answers."""
        self.state: bytes = b"{}"
        """What the page shows, as JSON."""
        self.error = "not asked yet"
        """Why nothing is known; empty if the broker answers."""
        self.telemetry: dict[str, Any] = {"members": [], "pipelines": []}
        self.totals = Totals()
        self.jobs: dict[str, int] = {}
        """State -> number of jobs."""
        self.described: dict[str, Any] = {}
        """The broker's account of itself; empty if it has not answered yet."""
        self.lines: deque[dict[str, Any]] = deque(maxlen=LINES)
        self.lock = threading.Lock()
        """Held by each thread that reads or changes totals, lanes or lines."""
        self.streams = Streams(self._traces)
        """What single workers did, task by task."""
        self._lanes: dict[str, dict[str, Any]] = {}
        self._older: tuple[str, float, list[dict[str, Any]]] = ("", 0.0, [])
        """(job, when it was asked, lines before those that are kept here)"""
        self._asks = threading.Lock()
        """Held by the one who asks for older lines."""
        self._after = 0
        self._described: dict[str, Any] = {}
        """The last answer about jobs."""
        self._jobs_due = 0.0
        """When to ask about jobs again."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join(10)
        if self.client is not None:
            self.client.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            asked = time.monotonic()
            try:
                if self.client is None:
                    self.client = self._connect()
                self._ask_about_jobs(self.client)
                asked = time.monotonic()
                self._look(self.client, asked)
                self.error = ""
            except ZturboError as error:
                self.error = str(error)
                self.state = self._dump({"error": self.error, "broker": self.broker})
                self._jobs_due = 0.0
            except Exception as error:  # a viewer goes on, whatever it was
                log.exception("the page was not brought up to date")
                self.error = f"{type(error).__name__}: {error}"
            self._stop.wait(_pause(time.monotonic() - asked))

    def _ask_about_jobs(self, client: Client) -> None:
        """Ask about jobs, if that is due: with many of them it takes long, and nothing else waits for it."""
        asked = time.monotonic()
        if not self._described or asked >= self._jobs_due:
            self._described = client.describe(most=PAGE)
            self._jobs_due = asked + _pause(time.monotonic() - asked)

    def _look(self, client: Client, now: float) -> None:
        told, described = client.telemetry(), self._described
        self._read_lines(client)
        with self.lock:
            self.telemetry, self.jobs, self.described = told, described["totals"], described
            self.totals.add(told)
            self._note_lanes(told, now)
        shown = as_map(told, described)
        for pipeline, flow in zip(shown["pipelines"], by_pipeline(told), strict=True):
            for stage, of_stage in zip(pipeline["stages"], flow.stages, strict=True):
                stage["lanes"] = [worker.incarnation for worker in of_stage.workers]
        shown["lanes"] = [_lane_now(member) for member in told["members"]]
        shown["broker"] = self.broker
        shown["viewer"] = client.role == "viewer"
        shown["error"] = ""
        shown["line"] = self._after
        self.state = self._dump(shown)

    def _read_lines(self, client: Client) -> None:
        more = True
        while more and not self._stop.is_set():
            entries, self._after, more = client.log_page(self._after)
            with self.lock:
                self.lines.extend(entries)

    def _note_lanes(self, told: dict[str, Any], now: float) -> None:
        for member in told["members"]:
            lane = self._lanes.setdefault(
                member["incarnation"],
                {
                    "id": member["incarnation"],
                    "name": member["name"],
                    "host": member["host"],
                    "past": deque(),
                },
            )
            flow = worker_of(member)
            lane["past"].append((round(time.monotonic(), 2), *(round(share, 3) for share in flow.shares)))
        for name, lane in list(self._lanes.items()):
            past = lane["past"]
            while past and past[0][0] < now - KEPT:
                past.popleft()
            if not past or len(self._lanes) > LANES:
                del self._lanes[name]

    def history(self) -> bytes:
        """The last minutes of each worker, as JSON: (seconds ago, shares of its time)."""
        now = time.monotonic()
        with self.lock:
            lanes = [
                {**lane, "past": [(round(at - now, 1), *shares) for at, *shares in lane["past"]]}
                for lane in self._lanes.values()
            ]
        return self._dump(lanes)

    def _traces(self, lanes: Sequence[str], reach: int) -> Mapping[str, Traces | ZturboError]:
        """Traces of those of these workers that live."""
        client, known = self.client, {member["incarnation"] for member in self.telemetry["members"]}
        asked = [lane for lane in lanes if lane in known]
        if client is None or not asked:
            return {}
        targets = [bytes.fromhex(lane) for lane in asked]
        found = look(client.connection, targets, "trace", reach, read_traces)
        return dict(zip(asked, found, strict=True))

    def spans(self, lanes: Sequence[str], since: float, until: float) -> bytes:
        """What these workers did between so many seconds ago, as JSON."""
        return self._dump(self.streams.spans(lanes, since, until))

    def find_lines(
        self,
        after: int,
        *,
        words: str = "",
        job: str = "",
        source: str = "",
        host: str = "",
        level: str = "",
        incidents: bool = False,
    ) -> bytes:
        """Log lines that match, as JSON: the last 1000 of them.

        Args:
            after: number of the last line that is known already. With 0 and the whole id of a job, the lines
                that the broker keeps of this job are asked for, too.
            words: all of them are in the text, in any case of letters.
            job: id, or its first digits.
            source: ``pipeline.stage``, ``broker`` or ``sink``; empty for all.
            host: empty for all.
            level: the lowest; empty for all.
            incidents: warnings and errors of zturbo alone, without what a stage's code logs in a task.
        """
        wanted = LEVELS[LEVELS.index(level) :] if level in LEVELS else LEVELS
        parts = words.lower().split()
        older = self._older_lines(job) if not after and is_job_id(job) else []
        with self.lock:
            first = self.lines[0]["number"] if self.lines else math.inf
            lines = [*(line for line in older if line["number"] < first), *self.lines]
        found = [
            line
            for line in lines
            if line["number"] > after
            and line["level"] in wanted
            and (not job or (line["job"] or "").startswith(job))
            and (not source or line["source"] == source or _is_sink(source, line["source"]))
            and (not host or line["host"] == host)
            and (not incidents or _is_incident(line))
            and all(part in line["text"].lower() for part in parts)
        ]
        return self._dump(found[-1000:])

    def _older_lines(self, job: str) -> list[dict[str, Any]]:
        """What the broker keeps of a job; nothing where it does not answer."""
        client = self.client
        if client is None:
            return []
        with self._asks:
            known, asked, lines = self._older
            if known == job and time.monotonic() - asked < FRESH:
                return lines
            lines, after, more = [], 0, True
            try:
                for _ in range(PAGES):
                    some, after, more = client.log_page(after, job=job)
                    lines.extend(some)
                    if not more:
                        break
            except ZturboError as error:
                log.debug("no older lines of job %s: %s", job, error)
            self._older = (job, time.monotonic(), lines)
            return lines

    @staticmethod
    def _dump(value: Any) -> bytes:
        return json.dumps(value, default=str, allow_nan=False).encode()


def _pause(took: float) -> float:
    """Seconds from an answer that took so long to the next question."""
    return max(EVERY, min(10.0, REST * took))


def _is_sink(source: str, name: str) -> bool:
    """Whether ``sink`` is looked for, and this is one: their own lines call them ``sink-0``."""
    return source == "sink" and name.startswith("sink-")


def _is_incident(line: dict[str, Any]) -> bool:
    """Whether a line tells of something that went wrong, other than what a stage's code logs in a task."""
    by_code = line["pid"] and line["job"] and not line["source"].startswith("sink")
    return line["level"] in LEVELS[LEVELS.index("WARNING") :] and not by_code


def _lane_now(member: dict[str, Any]) -> dict[str, Any]:
    flow = worker_of(member)
    return {
        "id": flow.incarnation,
        "name": flow.name,
        "host": flow.host,
        "pid": flow.pid,
        "busy": flow.busy,
        "rate": round(flow.rate, 2),
        "waiting": flow.waiting,
        "memory": flow.memory,
        "cpu": round(flow.cpu, 3),
        "heard": round(member["heard"], 1),
        "shares": [round(share, 3) for share in flow.shares],
    }
