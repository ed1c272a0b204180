"""The share of each node of a Slurm job, its batch script, and the file that tells where the broker is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.deploy.network import Network
from zturbo.deploy.rendezvous import Rendezvous
from zturbo.deploy.slurm import Batch, Step, share
from zturbo.errors import StartError, UsageError

HERE = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}


def network(*workers: int) -> Network:
    stages = [{"name": f"s{i}", "class": "m:C", "workers": n} for i, n in enumerate(workers)]
    return Network.parse({"pipeline": [{"name": "p", "stage": stages}]})


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 6))
def test_all_workers_are_dealt_out_evenly(workers: list[int], size: int) -> None:
    total: Counter[str] = Counter()
    each = []
    for rank in range(size):
        part = share(network(*workers), rank, size)
        each.append(sum(count for _, count in part))
        total.update(dict(part))
    assert total == {f"p.s{i}": n for i, n in enumerate(workers)}
    assert max(each) - min(each) <= 1


def test_the_node_with_the_broker_gets_the_last_worker() -> None:
    assert [share(network(1, 1), rank, 3) for rank in range(3)] == [[], [("p.s0", 1)], [("p.s1", 1)]]


def test_per_node_each_runs_the_files_number() -> None:
    assert share(network(2, 3), 1, 4, per_node=True) == [("p.s0", 2), ("p.s1", 3)]


def test_a_step_is_read_from_slurms_variables() -> None:
    assert Step.of({**HERE, "SLURM_RESTART_COUNT": "2"}) == Step(1, 4, "7.0.2", "")
    with pytest.raises(UsageError, match="srun"):
        Step.of({"SLURM_PROCID": "x"})


def test_words_with_spaces_stay_one_word() -> None:
    script = Batch("n", 2, ["run", "a b", "$HOME"], cpus=3).script()
    assert script.endswith("--cpus-per-task=3 --kill-on-bad-exit=1 run 'a b' '$HOME'\n")


def test_the_file_of_another_run_is_not_read(tmp_path: Path) -> None:
    old, new = (Rendezvous(tmp_path / "f" / "r.json", run) for run in ("1", "2"))
    old.publish("tcp://10.0.0.1:5555")
    assert old.broker() == "tcp://10.0.0.1:5555" and new.broker() is None
    new.remove()
    assert old.broker()
    assert (tmp_path / "f" / "r.json").stat().st_mode & 0o777 == 0o600
    old.remove()
    assert old.broker() is None


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"run": 1}', "[]", "\0"])
def test_a_file_with_anything_else_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    assert Rendezvous(tmp_path / "r.json", "1").broker() is None


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"run": "1", "broker": 5}')
    with pytest.raises(UsageError, match="broker"):
        Rendezvous(tmp_path / "r.json", "1").broker()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(StartError, match="--rendezvous"):
        Rendezvous(tmp_path / "f" / "r.json", "1").publish("tcp://10.0.0.1:5555")


def test_nodes_that_have_stopped_are_known(tmp_path: Path) -> None:
    meeting = Rendezvous(tmp_path / "r.json", "1")
    assert meeting.missing(3) == [1, 2]
    meeting.leave(2)
    assert meeting.missing(3) == [1]
    meeting.clear(3)
    assert meeting.missing(3) == [1, 2]
