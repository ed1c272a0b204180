"""A client's I/O thread, and the peers that a test plays to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.unit.client.played import Played
from zturbo.client.io import ClientIO


@pytest.fixture
def played(tmp_path: Path) -> Iterator[list[Played]]:
    """A broker and two sinks."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
    there = [Played(context, f"ipc://{tmp_path}/{name}") for name in ("broker", "one", "two")]
    yield there
    for peer in there:
        peer.socket.close()
    context.term()


@pytest.fixture
def io(played: list[Played]) -> Iterator[ClientIO]:
    io = ClientIO(played[0].address)
    yield io
    io.close()
