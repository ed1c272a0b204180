"""The benchmarks work, at tiny sizes: each work by calls in this process, a few with zturbo and the chain.

No figure is judged.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import idle, queued, scaling, tracing
from benchmarks.machine import machine
from benchmarks.measure import Found, measure
from benchmarks.peer import Flow, Peer
from benchmarks.picture import draw
from benchmarks.registry import WORKS
from benchmarks.report import Results
from benchmarks.run import Measurement
from benchmarks.steps import MANY, STEPS
from tests.docs.blocks import ROOT
from tests.support.cluster import eventually
from tests.support.hosts import need_hosts

BY_CALLS = [name for name, work in WORKS.items() if not work.two_hosts and name != "W10"]
"""Works that a peer without processes can do."""


class Calls(Peer):
    """Calls the steps in this process."""

    def start(self, flow: Flow) -> None:
        self._steps = flow.steps

    def stop(self) -> None:
        pass

    def versions(self) -> dict[str, str]:
        return {}

    def _results(self, contents: Iterable[Any], first: int = 0) -> Generator[Any, None, None]:
        for content in contents:
            for step in self._steps[first:]:
                content = STEPS[step](content)
            yield content

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        return self._results(contents)

    def stream(self, contents: Iterable[Any], in_flight: int) -> Generator[Any, None, None]:
        return self._results(contents)

    def fan_out(self, content: Any, results: int) -> Iterator[Any]:
        assert self._steps[0] in MANY
        return self._results(STEPS[self._steps[0]](content), first=1)

    def processes(self) -> dict[str, list[int]]:
        return {}


class Spoils(Calls):
    """Gives ``None`` in place of a run's first result."""

    def _results(self, contents: Iterable[Any], first: int = 0) -> Generator[Any, None, None]:
        results = super()._results(contents, first)
        next(results)
        yield None
        yield from results


class Swaps(Calls):
    """Gives the first two results of a run in the wrong order."""

    def _results(self, contents: Iterable[Any], first: int = 0) -> Generator[Any, None, None]:
        results = super()._results(contents, first)
        one, two = next(results), next(results)
        yield from (two, one, *results)


def measured_with(peer: Peer, work: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    """What a measurement of this peer finds."""
    monkeypatch.setattr("benchmarks.measure.make", lambda name: peer)
    found = Found()
    measure("a peer", WORKS[work], 0.01, found, folder / "found")
    return found


@pytest.mark.parametrize("work", BY_CALLS)
def test_each_work_gives_figures(work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured_with(Calls(), work, tmp_path, monkeypatch)
    assert (found.kind, found.why) == ("figures", "")
    assert found.figures


@pytest.mark.parametrize("work", BY_CALLS)
def test_a_wrong_result_gives_no_figure(work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured_with(Spoils(), work, tmp_path, monkeypatch)
    assert (found.kind, found.figures) == ("wrong", [])


def test_results_out_of_order_give_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured_with(Swaps(), "W2", tmp_path, monkeypatch)
    assert (found.kind, found.figures) == ("wrong", [])
    assert found.why == "wrong results: result 0 is 4, not 3"


def test_a_peer_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyturbo", None)  # so that importing it raises ImportError
    monkeypatch.delitem(sys.modules, "benchmarks.peers.pyturbo", raising=False)
    found = Found()
    measure("pyturbo", WORKS["W2"], 0.01, found, tmp_path / "found")
    assert (found.kind, found.figures) == ("missing", [])
    assert found.why.startswith("not installed: ") and "pyturbo" in found.why


def benchmark(*words: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks", "--repeat", "1", "--seconds", "0.02", *words]


def check(work: str, folder: Path) -> None:
    """Do a work with the chain and zturbo, and look at what was written."""
    command = benchmark("--work", work, "--peers", "chain,zturbo", "--out", str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    measurements = json.loads((folder / "results.json").read_text())["measurements"]
    found = {one["peer"]: one["found"] for one in measurements}
    assert set(found) == {"chain", "zturbo"}
    for peer, one in found.items():
        assert one["kind"] == "figures", f"{peer}: {one['why']}"
        assert one["figures"]
        assert one["left"] == 0, f"{peer} left processes"
    assert f"| {work} " in done.stdout
    assert (folder / "table.md").read_text() == done.stdout
    assert (folder / "ratios.png").stat().st_size > 0


def test_the_command_measures_each_peer(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    check("W1", tmp_path)


def test_frames_between_two_hosts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    need_hosts()
    check("W5", tmp_path)


def test_a_work_at_several_sizes_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    found = measured_with(Calls(), "W8-stages", tmp_path, monkeypatch)
    results = Results(
        [Measurement("W8-stages", "zturbo", 1, found)], {**machine(), "rounds": 1, "seconds": 0.01}
    )
    assert draw(results, tmp_path) == [tmp_path / "W8-stages.png"]
    assert "| W8-stages µs each, 2 stages ↓ | " in results.table()


def test_ctrl_c_ends_every_process_and_shows_what_is_known(tmp_path: Path) -> None:
    words = ("--work", "W3", "--seconds", "60", "--peers", "zturbo", "--out", str(tmp_path))
    process = subprocess.Popen(
        benchmark(*words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    below = psutil.Process(process.pid)
    # Measurement, node, broker, sink, three workers.
    eventually(lambda: len(below.children(recursive=True)) >= 7)
    started = below.children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; what is known so far:" in err
    assert " CPUs (" in out
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_what_many_workers_cost_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling.main(["80"]) == 0
    printed = capsys.readouterr().out
    assert all(f"### 80 workers {do}" in printed for do in ("join", "work", "rest"))
    for kind in ("view |", "viewchanges |", "welcome |", "ping |"):
        assert f"| from the broker: {kind}" in printed
    assert "| to the broker: hello | 81 |" in printed


def test_what_queued_jobs_cost_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert queued.main(["800", "--seconds", "0.3"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split()[1] for row in rows[2:]] == [f"{80 * number}" for number in range(1, 11)]


def test_sockets_of_workers_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "NAP", 0.001)
    assert idle.main(["2", "--seconds", "0.1", "--rest", "0"]) == 0
    *_, row = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\| 2 . 2 (\| \d+, \d+ ){3}(\| [\d.]+ ms ){4}\|", row), row


def test_what_the_trace_costs_is_measured_beside_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "FIRST", 200)
    assert tracing.main(["--rounds", "2", "--pairs", "1", "--seconds", "0.01"]) == 0
    head, _, time_row, cpu_row, share_row = capsys.readouterr().out.splitlines()
    assert head == "| of W1 with the trace | costs more | medians of the rounds |"
    for row in (time_row, cpu_row):
        assert re.fullmatch(r"\| [^|]+ \| [+-][\d.]+ % \| [+-][\d.]+ %, [+-][\d.]+ % \|", row), row
    shares = [float(number) for number in re.findall(r"\+([\d.]+) %", share_row)]
    assert len(shares) == 3 and all(0 < share < 100 for share in shares), share_row
