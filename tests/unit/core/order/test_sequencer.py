"""What a sequencer says to a broker that was started again: the broker's door lets it in."""

from __future__ import annotations

import pytest

from zturbo.core.order.sequencer import Sequencer
from zturbo.wire.control import to_broker
from zturbo.wire.control.codec import pack_control, read_request


@pytest.mark.parametrize("roots", [None, 0, 3])
def test_that_all_of_a_job_has_entered_passes_the_schema(roots: int | None) -> None:
    sequencer = Sequencer()
    if roots is None:  # the job's only one
        sequencer.enter_run((), 1, "item")
    else:
        if roots:
            sequencer.enter_run((0,), roots, "item")
        sequencer.enter_end((), roots)
    assert sequencer.complete
    roots_here = tuple(sequencer.entered())
    message = to_broker.Entered(incarnation=b"i" * 16, job=b"j" * 16, epoch=1, roots=roots_here)
    read = read_request(pack_control(message))
    assert isinstance(read, to_broker.Entered)
    (heard,) = read.roots
    assert heard[0] == -1 and heard[1] >= 1 << 53
