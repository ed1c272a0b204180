"""A broker or a sink that dies, again and again, while jobs run: nothing is done again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.support.cluster import Cluster
from tests.support.logged import counts, logged


def redoes_nothing(victim: str, durability: str, tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path)}) as cluster, cluster.client() as client:
        stream = client.map(range(2000), pipeline="p", durability=durability)
        got = [next(stream) for _ in range(50)]
        cluster.kill(victim)
        got += [next(stream) for _ in range(400)]
        cluster.kill(victim)
        (job,) = client.jobs()
        got += list(stream)
        assert got == list(range(2000))
        assert job["epoch"] == 1
        for name in ("first", "second"):
            assert counts(tmp_path / name) == Counter(map(str, range(2000))), "each exactly once"


def dies_beside_the_disk(role: str, module: str, where: str, when: str, tmp_path: Path) -> None:
    """Between write, sync and ack, around a commit, between the sink's word and the ledger's: three lives."""
    dying = f"{module}|{where}|{when}|%d|3|{tmp_path}"
    # A slow disk has few syncs.
    nth = 1 if where.endswith("complete") else 4 if role == "broker" else 3
    env = {"DYING": dying % nth}
    with (
        Cluster({"p": logged(tmp_path)}, modules={role: "tests.support.dying"}, env=env) as cluster,
        cluster.client() as client,
    ):
        lives, jobs = tmp_path / "lives", 0
        while not jobs or lives.read_bytes() != b"....":  # how many calls a job makes is a matter of speed
            assert list(client.map(range(2000), pipeline="p")) == list(range(2000))
            jobs += 1
        for name in ("first", "second"):
            done = counts(tmp_path / name)
            assert done == Counter({str(i): jobs for i in range(2000)}), "each exactly once"
