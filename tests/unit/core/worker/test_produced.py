"""What the code gave says which inputs it is of; nothing is finished unless that is said."""

from __future__ import annotations

import pytest

from zturbo.core.worker.produced import Produced

JOB = b"j" * 16


def test_what_is_put_out_meanwhile_finishes_nothing() -> None:
    out = Produced(JOB, 1, [], None)
    assert (out.tasks, out.seconds, out.works) == (0, 0.0, ())


def test_it_takes_no_other_fields() -> None:
    """It goes from the code's thread to the machine as it is: a misspelt count would be lost in silence."""
    out = Produced(JOB, 1, [], None)
    with pytest.raises(AttributeError):
        out.task = 1  # type: ignore[attr-defined]
