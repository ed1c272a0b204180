"""Gives CPUs and GPUs of this host to the workers of a network file: ``resources = { cpu = 2, gpu = 1 }``.

CPUs are given out in turn. When all are taken, the turn begins again with a warning: workers then share CPUs,
and are slower. No GPU is given out twice, because two models rarely fit into one GPU. If there are too few,
no worker starts. A part of a GPU (``gpu = 0.5``) is for workers that are known to fit together.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from zturbo.errors import StartError
from zturbo.hardware.cpus import usable_cpus
from zturbo.hardware.gpus import Gpus, usable_gpus

__all__ = ["Allotment"]

log = logging.getLogger("zturbo.resources")

_LEAST = 1e-6
"""A smaller part of a GPU is a rounding error."""


class Allotment:
    """This host's CPUs and GPUs, and which of them have been given out.

    One object serves all stages that a command starts. Other commands on the host do not know of it.
    """

    def __init__(self) -> None:
        self._next = 0
        """Index of the CPU that is given out next."""
        self._dealt = 0
        """Number of CPUs given out, counting each as often as it was given."""
        self._free: dict[int | str, float] = {}

    @cached_property
    def _cpus(self) -> list[int]:
        return usable_cpus().ids

    @cached_property
    def _gpus(self) -> Gpus:
        gpus = usable_gpus(0.1, 0.1)
        self._free = dict.fromkeys(gpus.ids, 1.0)
        return gpus

    def take(
        self, stage: str, wanted: Mapping[str, int | float], workers: int, *, where: str = ""
    ) -> list[dict[str, list[Any]]]:
        """Give CPUs and GPUs to the workers of a stage.

        Args:
            stage: its name, for messages.
            wanted: number of ``cpu`` and ``gpu`` for each worker, as in a network file.
            workers: number of workers.
            where: file and key, for messages.

        Returns:
            For each worker a map, ``cpu`` or ``gpu`` -> indices or UUIDs, with the names in ``wanted``.

        Raises:
            StartError: there are too few GPUs; the error lists those of the host.
        """
        parts: list[dict[str, list[Any]]] = [{} for _ in range(workers)]
        if "gpu" in wanted:
            for part, gpus in zip(parts, self._take_gpus(stage, wanted["gpu"], workers, where), strict=True):
                part["gpu"] = gpus
        if "cpu" in wanted:
            for part in parts:
                part["cpu"] = self._take_cpus(int(wanted["cpu"]))
            if self._dealt > len(self._cpus):
                log.warning(
                    "%s: %s of %s each make it %d CPUs in all, of %d to be used here: workers share them",
                    where or stage,
                    _many(workers, "worker"),
                    _many(wanted["cpu"], "CPU"),
                    self._dealt,
                    len(self._cpus),
                )
        return parts

    def _take_cpus(self, count: int) -> list[int]:
        self._dealt += count
        there = len(self._cpus)
        indices = sorted({(self._next + k) % there for k in range(min(count, there))})
        self._next = (self._next + count) % there
        return [self._cpus[index] for index in indices]

    def _take_gpus(self, stage: str, size: float, workers: int, where: str) -> list[list[int | str]]:
        if not size:
            return [[] for _ in range(workers)]
        out: list[list[int | str]] = []
        there = self._gpus
        before = dict(self._free)
        for _ in range(workers):
            least = min(size, 1.0)
            fit = [gpu for gpu in there.ids if self._free[gpu] > least - _LEAST]
            if size < 1:  # the fullest first, so that others stay whole
                fit.sort(key=lambda gpu: self._free[gpu])
            chosen = fit[: max(1, int(size))]
            if len(chosen) < size:
                self._free = before
                raise StartError(self._too_few(stage, size, workers, where))
            for gpu in chosen:
                self._free[gpu] -= least
            out.append(chosen)
        return out

    def _too_few(self, stage: str, size: float, workers: int, where: str) -> str:
        gpus = self._gpus
        text = f"{where}.gpu: " if where else ""
        text += f"{_many(workers, 'worker')} of {stage} with {_many(size, 'GPU')} each do not fit: "
        if gpus.ids:
            names = ", ".join(
                f"{gpu}" + ("" if self._free[gpu] == 1 else f" ({max(0, self._free[gpu]):.3g} of it free)")
                for gpu in gpus.ids
            )
            text += f"zturbo may use {len(gpus.ids)} here: {names}"
        else:
            text += f"zturbo finds no GPU to use here ({gpus.reason})"
        if gpus.busy:
            text += (
                f"; busy: {', '.join(gpus.busy)}; name them in CUDA_VISIBLE_DEVICES to use them all the same"
            )
        return (
            text + ". Ask for fewer workers, or for part of a GPU each (gpu = 0.5), or run it on another host"
        )


def _many(number: float, what: str) -> str:
    return f"{number:.3g} {what}" if number <= 1 else f"{number:.0f} {what}s"
