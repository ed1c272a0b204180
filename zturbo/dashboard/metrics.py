"""What Prometheus reads: counters, gauges and histograms by pipeline, stage and host, never by job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from zturbo.dashboard.watching import Watcher
from zturbo.telemetry.flow import by_pipeline
from zturbo.telemetry.histogram import BUCKETS, upper
from zturbo.telemetry.totals import Key, Totals

__all__ = ["Metrics", "exposition"]

LABELS = ("pipeline", "stage", "host")

COARSE = 4
"""Buckets of ours that make one of Prometheus's, which end at each fourth power of two of a microsecond."""

COUNTERS = (
    ("zturbo_tasks", "tasks", 1.0, "Tasks that workers have finished; results that came to a sink."),
    ("zturbo_outputs", "outputs", 1.0, "Tasks that workers have given."),
    ("zturbo_failed_tasks", "failed", 1.0, "Tasks that failed, where they failed."),
    ("zturbo_cpu_seconds", "cpu", 1e-6, "CPU time of workers and sinks."),
)

SPENT = ("code", "input", "held", "own")


class Metrics:
    """The metrics of a watcher, made anew whenever they are asked for."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        watcher = self._watcher
        yield GaugeMetricFamily("zturbo_up", "Whether the broker answers.", float(not watcher.error))
        with watcher.lock:
            yield from _counters(watcher.totals)
            yield from _histograms(watcher.totals)
            yield from _gauges(watcher.telemetry)
            jobs = GaugeMetricFamily("zturbo_jobs", "Jobs that the broker knows.", labels=["state"])
            for state, count in watcher.jobs.items():
                jobs.add_metric([state], count)
            yield jobs
            yield from _quotas(watcher.described)


def _quotas(described: dict[str, Any]) -> Iterable[Metric]:
    """What unfinished jobs use at the broker."""
    if not described:
        return
    memory = "About how many bytes of the broker's memory unfinished jobs take."
    yield GaugeMetricFamily("zturbo_job_memory_bytes", memory, described["job_memory"])
    refused = "Jobs that the broker had no room for, each time that they came."
    yield CounterMetricFamily("zturbo_refused_jobs", refused, described["refused"])
    jobs = max((client["jobs"] for client in described["clients"]), default=0)
    yield GaugeMetricFamily(
        "zturbo_client_jobs_max", "Unfinished jobs of the client that has the most.", jobs
    )
    nbytes = max((client["nbytes"] for client in described["clients"]), default=0)
    text = "Bytes of roots of a client's unfinished jobs, the most of those shown."
    yield GaugeMetricFamily("zturbo_client_bytes_max", text, nbytes)


def exposition(watcher: Watcher) -> tuple[bytes, str]:
    """The text for Prometheus, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(cast(Collector, Metrics(watcher)))
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _counters(totals: Totals) -> Iterable[Metric]:
    for name, field, unit, text in COUNTERS:
        counter = CounterMetricFamily(name, text, labels=LABELS)
        for key, sums in totals.sums.items():
            counter.add_metric(key, sums[field] * unit)
        yield counter
    spent = CounterMetricFamily(
        "zturbo_worker_seconds",
        "Time of workers: the stage's code, waiting for input, held back by what follows, zturbo itself.",
        labels=[*LABELS, "what"],
    )
    for key, sums in totals.sums.items():
        if key.pipeline:
            for what in SPENT:
                spent.add_metric([*key, what], sums[what] * 1e-6)
    yield spent


def _histograms(totals: Totals) -> Iterable[Metric]:
    kinds = (
        ("zturbo_task_seconds", "times", "code", "Time that a task took in the stage's code."),
        ("zturbo_wait_seconds", "waits", "waited", "Time that a task was queued in a worker."),
    )
    for name, field, of_sum, text in kinds:
        histogram = HistogramMetricFamily(name, text, labels=LABELS)
        for key, found in totals.histograms.items():
            if key.pipeline:
                seconds = totals.sums[key][of_sum] * 1e-6
                histogram.add_metric(key, _buckets(found[field]), seconds)
        yield histogram


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Cumulative counts, by the upper bound of a bucket."""
    ends = range(COARSE, BUCKETS, COARSE)
    out = [(f"{upper(end):.9g}", float(sum(counts[: end + 1]))) for end in ends]
    return [*out, ("+Inf", float(sum(counts)))]


def _gauges(telemetry: dict[str, Any]) -> Iterable[Metric]:
    workers = GaugeMetricFamily("zturbo_workers", "Living workers and sinks.", labels=LABELS)
    memory = GaugeMetricFamily("zturbo_memory_bytes", "Memory of workers and sinks.", labels=LABELS)
    text = "Shared memory that workers and sinks have taken for large contents."
    shared = GaugeMetricFamily("zturbo_shared_memory_bytes", text, labels=LABELS)
    counts: dict[Key, list[int]] = {}
    for member in telemetry["members"]:
        key = Key(member["pipeline"], member["name"].rpartition(".")[2], member["host"])
        found = counts.setdefault(key, [0, 0, 0])
        found[0] += 1
        found[1] += member["latest"]["memory"] if member["latest"] else 0
        found[2] += member["latest"]["shared"] if member["latest"] else 0
    for key, (number, nbytes, taken) in counts.items():
        workers.add_metric(key, number)
        memory.add_metric(key, nbytes)
        shared.add_metric(key, taken)
    wanted = GaugeMetricFamily(
        "zturbo_workers_wanted", "Workers that nodes are to keep running.", labels=LABELS[:2]
    )
    waiting = GaugeMetricFamily("zturbo_waiting_tasks", "Tasks in front of a stage.", labels=LABELS[:2])
    for flow in by_pipeline(telemetry):
        for stage in flow.stages:
            wanted.add_metric([flow.name, stage.name], stage.wanted)
            waiting.add_metric([flow.name, stage.name], stage.waiting)
    yield from (workers, memory, shared, wanted, waiting)
    yield from _gpus(telemetry.get("gpus", {}))


def _gpus(hosts: dict[str, Any]) -> Iterable[Metric]:
    """GPUs of the hosts that have some, as NVML sees them."""
    labels = ["host", "gpu"]
    text = "Part of the time in which a GPU ran anything, lately."
    load = GaugeMetricFamily("zturbo_gpu_utilization_ratio", text, labels=labels)
    used = GaugeMetricFamily("zturbo_gpu_memory_used_bytes", "Memory of a GPU that is in use.", labels=labels)
    total = GaugeMetricFamily("zturbo_gpu_memory_total_bytes", "Memory of a GPU.", labels=labels)
    for host, gpus in hosts.items():
        for gpu in gpus:
            where = [host, str(gpu["index"])]
            if gpu["load"] is not None:
                load.add_metric(where, gpu["load"] / 100)
            if gpu["total"]:
                used.add_metric(where, gpu["used"])
                total.add_metric(where, gpu["total"])
    if hosts:
        yield from (load, used, total)
