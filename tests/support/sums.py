"""A pipeline that ends in running sums, and what it gives."""

from __future__ import annotations

from tests.stages.basic import sums
from tests.support.cluster import stage

N = 3000
EXPECTED_SUM = list(sums(range(1, N + 1)))
PIPELINE = [stage("add", "Add", 2), stage("slow", "Slow", 2, seconds=0.0002), stage("sum", "Sum", 1)]
