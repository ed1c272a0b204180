"""Small results for one client share a message; each client gets its results in their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.runtime.members.outgoing import SMALL, TOGETHER, OutgoingResults
from zturbo.wire.messages import MAX_RIDERS, Results


class Sent:
    """The messages that went out: (client, indices of the results in each)."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, list[int]]] = []
        self.outgoing = OutgoingResults(self._send)
        self.added = 0

    def _send(self, client: bytes, results: Results) -> None:
        self.messages.append((client, [results.first, *[rider.first for rider in results.riders]]))

    def add(self, client: bytes = b"c", nbytes: int = 1, buffers: int = 0) -> None:
        """Add results, which are told by their number."""
        blob, more = bytes(nbytes), [bytes(9)] * buffers
        self.outgoing.add(client, Results(b"j" * 16, 1, self.added, 1, blob, buffers=more))
        self.added += 1


def test_small_results_of_a_round_go_in_one_message_for_each_client() -> None:
    sent = Sent()
    for client in (b"a", b"b", b"a", b"a"):
        sent.add(client)
    assert not sent.messages
    sent.outgoing.send()
    assert sent.messages == [(b"a", [0, 2, 3]), (b"b", [1])]
    sent.outgoing.send()
    assert len(sent.messages) == 2


def test_a_message_has_no_more_riders_than_a_reader_takes() -> None:
    sent = Sent()
    for _ in range(MAX_RIDERS + 3):
        sent.add()
    sent.outgoing.send()
    assert [len(indices) for _, indices in sent.messages] == [MAX_RIDERS + 1, 2]


def test_large_results_go_alone_after_those_before_them() -> None:
    sent = Sent()
    sent.add()
    sent.add(nbytes=SMALL + 1)
    sent.add()
    sent.add(buffers=1)
    assert [indices for _, indices in sent.messages] == [[0], [1], [2], [3]]


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 2 * SMALL)), max_size=40))
def test_each_client_gets_all_in_order_in_messages_within_bounds(added: list[tuple[bytes, int]]) -> None:
    sent = Sent()
    for client, nbytes in added:
        sent.add(client, nbytes)
    sent.outgoing.send()
    for client in (b"a", b"b"):
        got = [index for who, indices in sent.messages if who == client for index in indices]
        assert got == [index for index, (who, _) in enumerate(added) if who == client]
    for _, indices in sent.messages:
        assert len(indices) <= MAX_RIDERS + 1
        assert sum(added[index][1] for index in indices[:-1]) <= TOGETHER + SMALL
