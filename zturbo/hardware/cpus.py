"""The CPUs that this process may use: those of its affinity mask that its cgroups allow.

Both versions of cgroups are read, and each group from this process's own up to the mount. A group may have a
quota of CPU time (``cpu.max``, ``cpu.cfs_quota_us``) and a set of CPUs (``cpuset.cpus``). A file that is
missing or cannot be read sets no limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cpus", "usable_cpus"]

_PROC = Path("/proc/self")


class Cpus(NamedTuple):
    """CPUs that this process may use."""

    ids: list[int]
    """Numbers of the CPUs; never empty."""
    by_quota: bool
    """Whether a quota allows less time than all CPUs of the mask have. Then ``ids`` says how many CPUs there
    are, not which: other containers of the host would get the same numbers."""


def usable_cpus(proc: Path = _PROC) -> Cpus:
    """The CPUs that the affinity mask and the cgroups allow; a quota of 1.5 CPUs counts as two.

    Args:
        proc: the process's folder under ``/proc``.
    """
    allowed = os.sched_getaffinity(0)
    ids = sorted(allowed & _cpuset(proc) or allowed)
    quota = math.ceil(_quota(proc))
    return Cpus(ids[: max(1, quota)], True) if quota < len(ids) else Cpus(ids, False)


def _quota(proc: Path) -> int | float:
    """The smallest quota of all groups, in CPUs; without a quota, more CPUs than any host has."""
    quota: int | float = 1 << 30
    for folder in _groups(proc, "cpu"):
        words = _read(folder / "cpu.max").split()
        if not words:
            words = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        try:
            time, period = (int(word) for word in words)
        except ValueError:  # "max", or nothing there
            continue
        if time > 0 and period > 0:
            quota = min(quota, time / period)
    return quota


def _cpuset(proc: Path) -> set[int]:
    """CPUs of the nearest group that has a set; empty if no group has one."""
    for folder in _groups(proc, "cpuset"):
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
            if found := _numbers(_read(folder / name)):
                return found
    return set()


def _numbers(text: str) -> set[int]:
    """``0-3,8`` as a set."""
    out: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        try:
            out.update(range(int(first), int(last or first) + 1))
        except ValueError:
            return set()
    return out


def _groups(proc: Path, controller: str) -> Iterator[Path]:
    """Folders of all groups in which a controller limits this process, from its own group up to the mount."""
    own: dict[str, str] = {}
    for line in _read(proc / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            own["cgroup2"] = path
        elif controller in controllers.split(","):
            own["cgroup"] = path
    for line in _read(proc / "mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or kind[0] not in own:
            continue
        if kind[0] == "cgroup" and controller not in kind[-1].split(","):
            continue
        root, mount = fields[3], Path(fields[4].replace("\\040", " "))
        path = own[kind[0]]
        if root != "/" and (path + "/").startswith(root + "/"):  # in a container, /proc has the host's paths
            path = path[len(root) :]
        inner = Path(path.strip("/"))
        yield from (
            mount / part for part in ([inner, *inner.parents] if ".." not in inner.parts else [Path()])
        )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
