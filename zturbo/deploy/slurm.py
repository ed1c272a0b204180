"""A network on the nodes of a Slurm job: its batch script, and the share of each node."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zturbo.deploy.network import Network
from zturbo.errors import UsageError

__all__ = ["Batch", "Step", "share"]

DRAIN = 60
"""Seconds before the end of the wall time at which Slurm tells the processes to stop."""


@dataclass(frozen=True, slots=True)
class Step:
    """The place of one process among those that an ``srun`` has started."""

    rank: int
    size: int
    run: str
    """Names this run: a file of an earlier run of the same job is not taken for one of this."""
    node: str
    """Slurm's name of this node."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Step:
        """Read Slurm's variables.

        Raises:
            UsageError: ``srun`` has not started this process.
        """
        try:
            rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
            job, step = environment["SLURM_JOB_ID"], environment["SLURM_STEP_ID"]
        except (KeyError, ValueError):
            raise UsageError(
                "--step is for processes that srun starts, and $SLURM_PROCID, $SLURM_STEP_NUM_TASKS or "
                "$SLURM_STEP_ID is missing: run 'zturbo slurm FILE -N NODES' without it"
            ) from None
        again = environment.get("SLURM_RESTART_COUNT", "0")
        return cls(rank, size, f"{job}.{step}.{again}", environment.get("SLURMD_NODENAME", ""))


def share(network: Network, rank: int, size: int, *, per_node: bool = False) -> list[tuple[str, int]]:
    """(stage, workers) that one node runs.

    Args:
        network: the network file.
        rank: of the node, from 0.
        size: number of nodes.
        per_node: whether each node runs as many workers as the file says. Else all nodes together do. They
            are dealt out one by one, and begin after the node with rank 0, which has broker and sink too.
    """
    found: list[tuple[str, int]] = []
    dealt = 1
    for pipeline in network.pipelines:
        for stage in pipeline.stages:
            workers = stage.workers
            if not per_node:
                workers = sum((dealt + number) % size == rank for number in range(stage.workers))
                dealt += stage.workers
            if workers:
                found.append((f"{pipeline.name}.{stage.name}", workers))
    return found


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch script.

    Args:
        name: of the job.
        nodes: number of nodes.
        step: words of the command that each node runs.
        cpus: CPUs of each node; None for all of them, which no other job shares then.
        time: Slurm's limit of time; None for the partition's.
        partition: of Slurm; None for the default one.
        more: other options of ``sbatch``, such as ``--account=vision``.
    """

    name: str
    nodes: int
    step: Sequence[str]
    cpus: int | None = None
    time: str | None = None
    partition: str | None = None
    more: Sequence[str] = ()

    @property
    def srun(self) -> list[str]:
        """The words of the ``srun`` that starts one process on each node.

        The end of one with an error ends all.
        """
        cpus = [f"--cpus-per-task={self.cpus}"] if self.cpus else []
        return [
            "srun",
            f"--nodes={self.nodes}",
            "--ntasks-per-node=1",
            *cpus,
            "--kill-on-bad-exit=1",
            *self.step,
        ]

    def script(self) -> str:
        """The text for ``sbatch``."""
        options = [f"--job-name={self.name}", f"--nodes={self.nodes}", "--ntasks-per-node=1"]
        options.append(f"--cpus-per-task={self.cpus}" if self.cpus else "--exclusive")
        options.append(f"--signal=TERM@{DRAIN}")
        options += [f"--time={self.time}"] if self.time else []
        options += [f"--partition={self.partition}"] if self.partition else []
        lines = [f"#SBATCH {option}" for option in [*options, *self.more]]
        return "\n".join(["#!/bin/bash", *lines, "", shlex.join(self.srun), ""])
