"""The report of a process's state names what it has dropped, and what went more than once."""

from __future__ import annotations

import json
import logging

import pytest

from tests.unit.core.pair import BUSY, JOB, OTHER, SENDER, VIEW, Pair
from zturbo.runtime.members.dump import dump, links
from zturbo.wire.control.view import View
from zturbo.wire.messages import Batch


def batch(number: int, source: bytes = SENDER) -> Batch:
    return Batch(JOB, 1, 1, [((number,), 1)], 1, b"\x01", number=number, source=source, target=BUSY)


def test_a_receiver_counts_copies_gaps_and_strays() -> None:
    pair = Pair()
    pair.put(0, 0.0)
    worker = pair.worker
    worker.data(batch(1), 0.1)
    worker.data(batch(5), 0.1)
    worker.data(batch(6), 0.1)
    worker.data(batch(1, source=b"?" * 16), 0.1)
    state = links(worker.receivers, worker.senders)
    told = state["in"][SENDER.hex()]
    assert (told["received"], told["duplicates"], told["gaps"], state["strays"]) == (1, 1, 2, 1)


def test_a_sender_counts_what_a_lost_receiver_had() -> None:
    pair = Pair()
    pair.put(0, 0.0)
    assert links(None, pair.senders)["redelivered"] == 0
    left = {name: member for name, member in VIEW.members.items() if name != BUSY}
    pair.senders.set_view(View(2, left), [left[OTHER]], 0.1)
    assert links(None, pair.senders)["redelivered"] == 1


def test_a_state_is_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()
    with caplog.at_level(logging.WARNING):
        dump("p.busy", BUSY, links(pair.worker.receivers, pair.senders))
    (text,) = [record.getMessage() for record in caplog.records]
    state = json.loads(text.removeprefix("state "))
    assert (state["name"], state["incarnation"]) == ("p.busy", BUSY.hex())
    assert state["out"][BUSY.hex()]["resent"] == state["returned"] == 0
