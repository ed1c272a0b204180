"""CPUs that a process may use, from an affinity mask and the files of cgroups of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zturbo import Resources
from zturbo.hardware.cpus import Cpus, usable_cpus

V2 = "31 23 0:28 {root} {mount} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 23 0:28 {root} {mount} rw,relatime - cgroup cgroup rw,{controller}\n"


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask of a process on a host with eight CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def host(
    tmp_path: Path, cgroup: str, mounts: list[tuple[str, str, str]], files: dict[str, str], root: str = "/"
) -> Cpus:
    """What is usable where these files are in /proc and under the cgroup mounts.

    Args:
        tmp_path: of the test.
        cgroup: /proc/self/cgroup.
        mounts: (a line of mountinfo, name of the mount, its controllers).
        files: path below tmp_path -> text.
        root: of each mount.
    """
    lines = [
        line.format(root=root, mount=tmp_path / name, controller=controller)
        for line, name, controller in mounts
    ]
    for path, text in {"proc/cgroup": cgroup, "proc/mountinfo": "".join(lines), **files}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return usable_cpus(tmp_path / "proc")


@pytest.mark.parametrize(
    "text, ids, by_quota",
    [
        ("max 100000", 8, False),
        ("200000 100000", 2, True),
        ("150000 100000", 2, True),  # one and a half count as two
        ("1000 100000", 1, True),
        ("800000 100000", 8, False),
        ("1600000 100000", 8, False),
        ("nonsense", 8, False),
        ("0 0", 8, False),
        ("", 8, False),
    ],
)
def test_a_quota_of_version_2(tmp_path: Path, text: str, ids: int, by_quota: bool) -> None:
    found = host(tmp_path, "0::/\n", [(V2, "cg", "")], {"cg/cpu.max": text})
    assert found == Cpus(list(range(ids)), by_quota)


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    files = {
        "cg/a/cpu.max": "300000 100000",
        "cg/a/b/cpu.max": "500000 100000",
        "cg/a/b/c/cpu.max": "max 100000",
        "cg/cpu.max": "600000 100000",
    }
    assert host(tmp_path, "0::/a/b/c\n", [(V2, "cg", "")], files).ids == [0, 1, 2]


@pytest.mark.parametrize("quota, ids", [("-1", 8), ("250000", 3)])
def test_a_quota_of_version_1(tmp_path: Path, quota: str, ids: int) -> None:
    mounts = [(V1, "cpu", "cpu,cpuacct"), (V1, "memory", "memory")]
    files = {"cpu/jobs/cpu.cfs_quota_us": f"{quota}\n", "cpu/jobs/cpu.cfs_period_us": "100000\n"}
    found = host(tmp_path, "5:memory:/\n4:cpu,cpuacct:/jobs\n", mounts, files)
    assert found == Cpus(list(range(ids)), quota != "-1")


def test_a_container_that_is_shown_the_hosts_paths(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "50000"}
    found = host(tmp_path, "4:cpu:/docker/ab12\n", [(V1, "cpu", "cpu")], files, root="/docker/ab12")
    assert found.ids == [0, 1]


def test_a_group_outside_of_what_is_mounted(tmp_path: Path) -> None:
    assert host(tmp_path, "0::/../up\n", [(V2, "cg", "")], {"cg/cpu.max": "400000 100000"}).ids == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    "line, cgroup, name, text, ids",
    [
        (V2, "0::/a\n", "a/cpuset.cpus.effective", "1-2,5\n", [1, 2, 5]),
        (V2, "0::/a\n", "cpuset.cpus.effective", "6-7\n", [6, 7]),
        (V1, "3:cpuset:/a\n", "a/cpuset.cpus", "0,3", [0, 3]),
        (V1, "3:cpuset:/a\n", "a/cpuset.effective_cpus", "4", [4]),
        (V1, "3:cpuset:/a\n", "a/cpuset.cpus", "", list(range(8))),
        (V2, "0::/\n", "cpuset.cpus.effective", "90-95", list(range(8))),  # none of the mask: not believed
        (V2, "0::/\n", "cpuset.cpus.effective", "one", list(range(8))),
    ],
)
def test_a_set(tmp_path: Path, line: str, cgroup: str, name: str, text: str, ids: list[int]) -> None:
    found = host(tmp_path, cgroup, [(line, "cg", "cpuset")], {f"cg/{name}": text})
    assert found == Cpus(ids, False)


def test_a_set_and_a_quota(tmp_path: Path) -> None:
    files = {"cg/cpuset.cpus.effective": "2-5", "cg/cpu.max": "200000 100000"}
    assert host(tmp_path, "0::/\n", [(V2, "cg", "")], files) == Cpus([2, 3], True)


def test_nothing_to_be_read(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "nowhere") == Cpus(list(range(8)), False)


def test_the_mask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 3})
    assert host(tmp_path, "0::/\n", [(V2, "cg", "")], {"cg/cpu.max": "max 100000"}).ids == [3, 7]


def test_resources_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zturbo.hardware.resources.usable_cpus", lambda: Cpus([4, 5], True))
    assert Resources().get("cpu") == [4, 5]
