"""A client's share of its host's memory: whose references it follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zturbo.client.memory import ClientMemory
from zturbo.errors import DecodeError
from zturbo.runtime.shared.contents import SHARED_FROM, SharedContents, has_references
from zturbo.wire.messages import Buffer

SINK, CLIENT = b"s" * 16, b"c" * 16


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZTURBO_SHM", str(tmp_path))


@pytest.fixture
def sink() -> Iterator[SharedContents]:
    made = SharedContents.make(SINK)
    assert made is not None
    made.wanted = True
    yield made
    made.close()


@pytest.fixture
def memory() -> Iterator[ClientMemory]:
    made = ClientMemory(CLIENT, "tcp://127.0.0.1:5555")
    made.make()
    yield made
    made.close()


def results(sink: SharedContents) -> list[Buffer]:
    """A message with a large result, as the sink sends it to the client."""
    there = sink.put(memoryview(bytes([7]) * SHARED_FROM))
    assert there is not None
    return sink.outgoing(CLIENT, [b"head", b"blob", there])


def test_a_sink_of_this_host_refers_to_memory(sink: SharedContents, memory: ClientMemory) -> None:
    sent = results(sink)
    assert has_references(sent)
    assert bytes(memory.incoming(sent, near=True)[2]) == bytes([7]) * SHARED_FROM
    assert has_references(results(sink)), "so it goes on"


def test_a_sink_in_another_container_that_sees_this_memory_sends_frames_after_its_first_try(
    sink: SharedContents, memory: ClientMemory
) -> None:
    with pytest.raises(DecodeError, match="not on this host"):
        memory.incoming(results(sink), near=False)
    sent = results(sink)
    assert not has_references(sent)
    assert bytes(memory.incoming(sent, near=False)[2]) == bytes([7]) * SHARED_FROM
