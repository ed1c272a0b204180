"""What a newcomer costs the broker: the same among some members as among many."""

from __future__ import annotations

from benchmarks.scaling import Cluster


def test_a_join_costs_as_much_among_many_as_among_few() -> None:
    figures = []
    for workers in (150, 450):
        cluster = Cluster(workers)
        cluster.start()
        assert len(cluster.machine.membership) == workers + 1
        cluster.machine.check()
        packed = cluster.packed
        figures.append((packed / workers, cluster.machine.membership.places.steps / workers))
    (packed_few, steps_few), (packed_many, steps_many) = figures
    assert packed_many < 1.1 * packed_few, "a view is packed once for all that get it"
    assert steps_many < 1.1 * steps_few < 50, "and a newcomer is compared with few members"
