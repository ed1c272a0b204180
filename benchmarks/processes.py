"""The processes below this one: their CPU, memory and end; and what else the machine does."""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import dataclass

import psutil

__all__ = ["Ticks", "adopt", "below", "cpu_of", "cpu_seconds", "end_all", "memory", "runs", "ticks"]

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36


def adopt(*, die_with_parent: bool) -> None:
    """Become the parent of all processes that lose theirs below this one, so that none is out of sight.

    Args:
        die_with_parent: get SIGTERM when the parent of this process dies.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if die_with_parent:
        libc.prctl(SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def below() -> list[psutil.Process]:
    """All processes below this one that have not ended."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            pass
    return found


def end_all(patience: float = 5.0) -> int:
    """Kill all processes below this one, by pid, until there is none; returns how many there were."""
    first = len(below())
    while left := below():
        for process in left:
            try:
                process.kill()
            except psutil.Error:
                pass
        psutil.wait_procs(left, timeout=patience)
    return first


def cpu_seconds() -> float:
    """CPU that this process and those below have used, with that of children that have ended."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            pass
    return total


def cpu_of(pid: int) -> float:
    """CPU that one process has used; 0 once it has ended."""
    try:
        return float(sum(psutil.Process(pid).cpu_times()[:2]))
    except psutil.Error:
        return 0.0


def memory() -> float:
    """Megabytes of this process and those below; memory that some share is counted once."""
    total = 0
    for process in [psutil.Process(), *below()]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            pass
    return total / 1e6


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@dataclass(frozen=True)
class Ticks:
    """Seconds of CPU, of the whole machine."""

    busy: float
    """Used by processes."""
    stolen: float
    """Taken by the hypervisor for other machines."""


def ticks() -> Ticks:
    """Counts since the machine's start, of ``/proc/stat``."""
    with open("/proc/stat") as file:
        values = [int(word) for word in file.readline().split()[1:]]
    hertz = os.sysconf("SC_CLK_TCK")
    return Ticks(sum(values[:3]) / hertz, values[7] / hertz)
