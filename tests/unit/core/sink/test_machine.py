"""What a sink reports to the broker."""

from __future__ import annotations

from zturbo.core.effects import Control
from zturbo.core.sink.machine import SinkMachine
from zturbo.wire.control import to_broker
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import Batch, End, Greet, Stamp


def test_a_sink_reports_a_stage_that_is_not_deterministic() -> None:
    me, broker, job = b"s" * 16, b"b" * 16, b"j" * 16
    sink = SinkMachine(me)
    members = {
        me: Member(me, "sink", "", -1, "h", ()),
        broker: Member(broker, "broker", "", -1, "h", ()),
    }
    sink.view(View(1, members), 0.0)
    sink.data(Greet(broker, me, 1), 0.0)
    for number, count in ((1, 3), (2, 4)):
        stamp = Stamp(job, 1, "p", {}, me) if number == 1 else None
        batch = Batch(job, 1, 1, ends=[End((), count)], stamp=stamp, number=number, source=broker, target=me)
        sink.data(batch, 0.0)
        sink.stored([number], 0.0)
    said = [effect.message for effect in sink.effects if isinstance(effect, Control)]
    (report,) = [message for message in said if isinstance(message, to_broker.JobFailed)]
    assert report.kind == "NondeterministicStage" and "3 children, and then 4" in report.error
