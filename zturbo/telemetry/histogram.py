"""Times as a histogram of fixed size: two buckets for each doubling, from a microsecond to some hours.

Two such histograms are added, or subtracted, bucket by bucket. So a process tells what it has counted since
its start, and a viewer gets what was counted between two reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp

__all__ = ["BUCKETS", "Histogram", "added", "bucket", "quantile", "subtracted", "upper"]

BUCKETS = 72
"""Number of buckets. The last one also has all times beyond it, which is about 19 hours."""

_HALF = 0.5**0.5


def bucket(seconds: float) -> int:
    """The bucket of a time."""
    if seconds <= 1e-6:
        return 0
    mantissa, exponent = frexp(seconds * 1e6)
    return min(BUCKETS - 1, 2 * exponent - (mantissa < _HALF))


def upper(index: int) -> float:
    """The time, in seconds, at which a bucket ends."""
    return float(2.0 ** (index / 2)) * 1e-6


class Histogram:
    """Counts of times. One thread adds, and others may read at any time."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.seconds = 0.0
        """Sum of all times."""

    def add(self, n: int, seconds: float) -> None:
        """Count ``n`` times that were ``seconds`` together, as if all of them were equal."""
        if n > 0:
            self.counts[bucket(seconds / n)] += n
            self.seconds += seconds

    def trimmed(self) -> tuple[int, ...]:
        """The counts, without the empty buckets at the end."""
        counts = self.counts
        n = len(counts)
        while n and not counts[n - 1]:
            n -= 1
        return tuple(counts[:n])


def added(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Both histograms together."""
    if len(one) < len(other):
        one, other = other, one
    return (*(a + b for a, b in zip(one, other, strict=False)), *one[len(other) :])


def subtracted(later: Sequence[int], earlier: Sequence[int]) -> tuple[int, ...]:
    """What was counted between two states of a histogram. A bucket that fell counts as 0."""
    return (
        *(max(0, a - b) for a, b in zip(later, earlier, strict=False)),
        *later[len(earlier) :],
    )


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The time that this share of the counted times does not exceed: within a factor of 1.2.

    Args:
        counts: of each bucket.
        share: 0.5 for the median.

    Returns:
        Seconds: the middle of the bucket, in ratios; None if nothing was counted.
    """
    total = sum(counts)
    if not total:
        return None
    before, wanted = 0, share * total
    for index, n in enumerate(counts):
        before += n
        if n and before >= wanted:
            return upper(index) * 2**-0.25
    return upper(len(counts) - 1)
