"""The benchmarks work: zturbo and the chain do each work once, at a tiny size; no figure is judged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.measure import Found, measure
from benchmarks.peer import Flow, Peer
from benchmarks.registry import WORKS
from tests.docs.blocks import ROOT
from tests.support.cluster import eventually
from tests.support.hosts import need_hosts

ONLY_ZTURBO = {"W2b", "W10"}
"""Works for which the chain has no way."""
LOCAL = [work for work in WORKS if not WORKS[work].two_hosts]


def benchmark(*words: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks", "--repeat", "1", "--seconds", "0.02", *words]


def measured(folder: Path) -> list[dict[str, Any]]:
    """The measurements of a run."""
    everything = json.loads((folder / "results.json").read_text())
    return [{**done, **done["found"]} for done in everything["measurements"]]


def check(works: list[str], folder: Path) -> None:
    """Run works, and look at what was written."""
    command = benchmark("--work", ",".join(works), "--peers", "chain,zturbo", "--out", str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, done.stderr
    found = {(one["work"], one["peer"]): one for one in measured(folder)}
    assert set(found) == {(work, peer) for work in works for peer in ("chain", "zturbo")}
    for (work, peer), one in found.items():
        cannot = peer == "chain" and work in ONLY_ZTURBO
        assert one["kind"] == ("cannot" if cannot else "figures"), f"{work} {peer}: {one['why']}"
        assert one["left"] == 0, f"{peer} left processes after {work}"
        assert bool(one["figures"]) != cannot
    assert all(f"| {work} " in done.stdout for work in works)
    for work in works:
        assert (folder / f"{work}.png").exists() == bool(WORKS[work].axis)


@pytest.mark.parametrize("part", range(3))
def test_each_work_gives_figures(tmp_path: Path, part: int) -> None:
    pytest.importorskip("matplotlib")
    check(LOCAL[part::3], tmp_path)


def test_frames_between_two_hosts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    need_hosts()
    check([work for work in WORKS if WORKS[work].two_hosts], tmp_path)


class Swaps(Peer):
    """Gives all results, but two of them in the wrong order."""

    def start(self, flow: Flow) -> None:
        pass

    def stop(self) -> None:
        pass

    def versions(self) -> dict[str, str]:
        return {}

    def jobs(self, contents: Iterable[int], in_flight: int) -> Iterator[int]:
        first, second, *rest = contents
        yield from (second + 3, first + 3, *(content + 3 for content in rest))


def test_results_out_of_order_give_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.measure.make", lambda name: Swaps())
    found = Found()
    measure("swaps", WORKS["W2"], 0.01, found, tmp_path / "found")
    assert (found.kind, found.figures) == ("wrong", [])
    assert found.why == "wrong results: result 0 is 4, not 3"


def test_a_peer_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyturbo", None)  # so that importing it raises ImportError
    monkeypatch.delitem(sys.modules, "benchmarks.peers.pyturbo", raising=False)
    found = Found()
    measure("pyturbo", WORKS["W2"], 0.01, found, tmp_path / "found")
    assert (found.kind, found.figures) == ("missing", [])
    assert found.why.startswith("not installed: ") and "pyturbo" in found.why


def test_ctrl_c_ends_every_process_and_shows_what_is_known(tmp_path: Path) -> None:
    words = ("--work", "W3,W11", "--seconds", "60", "--peers", "zturbo", "--out", str(tmp_path))
    process = subprocess.Popen(
        benchmark(*words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    below = psutil.Process(process.pid)
    eventually(
        lambda: len(below.children(recursive=True)) >= 7
    )  # measurement, node, broker, sink, three workers
    started = below.children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; what is known so far:" in err
    assert " CPUs (" in out
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
