"""dask.distributed: a local cluster, a process of one thread for each worker; the scheduler places tasks."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any

import dask
import distributed

from benchmarks.ordering import by_window
from benchmarks.peer import CannotDo, Flow, Peer
from benchmarks.steps import MANY, STEPS

__all__ = ["Here"]


class Here(Peer):
    """A client of a local cluster; a task's way through the stages is a chain of futures."""

    _cluster: Any = None
    _client: Any = None

    def start(self, flow: Flow) -> None:
        """Start the cluster, with a worker process for each worker of each stage."""
        if flow.away or MANY & set(flow.steps):
            raise CannotDo("one host here, and one output for each input")
        self._steps = [STEPS[step] for step in flow.steps]
        self._cluster = distributed.LocalCluster(
            n_workers=len(flow.steps) * flow.workers,
            processes=True,
            threads_per_worker=1,
            dashboard_address=None,
            host="127.0.0.1",
        )
        self._client = distributed.Client(self._cluster, direct_to_workers=True)

    def stop(self) -> None:
        """Close client and cluster."""
        for part in (self._client, self._cluster):
            if part is not None:
                part.close()

    def versions(self) -> dict[str, str]:
        """dask's and distributed's."""
        return {"dask": dask.__version__, "distributed": distributed.__version__}

    def _begin(self, content: Any) -> Any:
        future = content
        if not isinstance(content, (int, float)):
            future = self._client.scatter(content, hash=False, direct=True)
        for step in self._steps:
            future = self._client.submit(step, future, pure=False)
        return future

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """A job is a chain of futures."""
        return self.stream(contents, in_flight)

    def stream(self, contents: Iterable[Any], in_flight: int) -> Generator[Any, None, None]:
        """Futures while there is room."""
        return by_window(contents, in_flight, self._begin, lambda future: future.result())
