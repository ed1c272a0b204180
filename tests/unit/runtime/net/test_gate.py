"""Real sockets with keys: who gets in, whose each message is, and what the others are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from zturbo.runtime.net import keys
from zturbo.runtime.net.audit import Audit
from zturbo.runtime.net.gate import CONTROL, INBOX, Gate
from zturbo.runtime.net.keys import Identity, Security
from zturbo.runtime.net.peers import user_of
from zturbo.runtime.net.routes import Routes, own_identity
from zturbo.runtime.net.sockets import Dealer, make, send_frames

Context = zmq.Context[zmq.Socket[bytes]]


def pair(role: str = "node", name: str = "n", broker: str = "") -> Security:
    public, secret = (part.decode() for part in zmq.curve_keypair())
    return Security(Identity(role, name), public, secret, broker or public, "file")


class Lab:
    """A router with a gate, and clients in a context of their own."""

    def __init__(self) -> None:
        self.context: Context = zmq.Context(1)
        self.others: Context = zmq.Context(1)
        self.lines: list[str] = []
        self.server = pair("broker")
        self.gate: Gate | None = None
        self.sockets: list[zmq.Socket[bytes]] = []

    def guard(self) -> Gate:
        self.gate = Gate(self.context, Audit(self.lines.append))
        return self.gate

    def bind(self, domain: str = CONTROL, security: Security | None = None) -> zmq.Socket[bytes]:
        return self._keep(
            make(self.context, zmq.ROUTER, bind="tcp://127.0.0.1:*", security=security, domain=domain)
        )

    def dealer(
        self, router: zmq.Socket[bytes], security: Security | None, identity: bytes = b"i" * 16
    ) -> Dealer:
        address = router.getsockopt_string(zmq.LAST_ENDPOINT)
        made = make(self.others, zmq.DEALER, connect=address, identity=identity, security=security)
        assert isinstance(made, Dealer)
        return self._keep(made)

    def _keep(self, socket: zmq.Socket[bytes]):  # type: ignore[no-untyped-def]
        self.sockets.append(socket)
        return socket

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()
        if self.gate is not None:
            self.gate.close()
        self.context.term()
        self.others.term()


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def stands(dealer: Dealer) -> Callable[[], bool]:
    return dealer.connected


def is_denied(dealer: Dealer) -> Callable[[], bool]:
    return lambda: not dealer.connected() and bool(dealer.denial)


def test_each_message_has_the_key_that_it_came_under(lab: Lab) -> None:
    one, two = pair(broker=lab.server.public), pair(broker=lab.server.public)
    lab.guard().admit(CONTROL, [one.public, two.public])
    router = lab.bind(security=lab.server)
    for number, security in enumerate((one, two)):
        dealer = lab.dealer(router, security, bytes([number]) * 16)
        until(stands(dealer))
        send_frames(dealer, [b"x", b"y"])
        assert router.poll(10_000)
        frames = router.recv_multipart(copy=False)
        assert user_of(frames[-1]) == security.public


def test_a_key_that_is_not_on_the_list_is_refused(lab: Lab) -> None:
    stranger = pair(broker=lab.server.public)
    lab.guard().admit(CONTROL, [])
    dealer = lab.dealer(lab.bind(security=lab.server), stranger)
    until(is_denied(dealer))
    assert "not on its list, or was revoked" in dealer.denial and dealer.is_final
    assert len(lab.lines) == 1 and "refused from 127.0.0.1" in lab.lines[0]
    assert stranger.public not in lab.lines[0]


def test_a_client_without_keys_is_told_that_it_needs_some(lab: Lab) -> None:
    lab.guard().admit(CONTROL, [])
    dealer = lab.dealer(lab.bind(security=lab.server), None)
    until(is_denied(dealer))
    assert "it wants a key, and this process has none" in dealer.denial and dealer.is_final


def test_a_client_with_keys_is_told_that_the_broker_has_none(lab: Lab) -> None:
    dealer = lab.dealer(lab.bind(), pair())
    until(is_denied(dealer))
    assert "it uses no keys" in dealer.denial


def test_a_wrong_key_of_the_broker_is_told(lab: Lab) -> None:
    mine = pair()  # its file has another broker's key
    lab.guard().admit(CONTROL, [mine.public])
    dealer = lab.dealer(lab.bind(security=lab.server), mine)
    until(is_denied(dealer))
    assert "the keys of another network" in dealer.denial and dealer.is_final


def test_without_a_gate_nobody_gets_in(lab: Lab) -> None:
    mine = pair(broker=lab.server.public)
    router = lab.bind(security=lab.server)
    dealer = lab.dealer(router, mine)
    heard: list[int] = []
    until(lambda: dealer.connection() is not None)
    dealer.connected()
    until(lambda: heard.append(1) or dealer.connection() is None)  # type: ignore[func-returns-value]
    assert dealer.connections == 0 and not router.poll(0)


def test_a_key_may_be_learnt_a_moment_later(lab: Lab) -> None:
    mine = pair(broker=lab.server.public)
    gate = lab.guard()
    gate.admit(INBOX, [], waits=True, again=True)
    dealer = lab.dealer(lab.bind(INBOX, lab.server), mine)
    until(lambda: gate.waiting)
    gate.admit(INBOX, [mine.public], waits=True, again=True)
    until(stands(dealer))
    assert not lab.lines


def test_each_kind_of_socket_has_its_own_list(lab: Lab) -> None:
    mine = pair(broker=lab.server.public)
    gate = lab.guard()
    gate.admit(INBOX, [mine.public])
    gate.admit(CONTROL, [])
    until(is_denied(lab.dealer(lab.bind(CONTROL, lab.server), mine)))
    until(stands(lab.dealer(lab.bind(INBOX, lab.server), mine)))


def test_ipc_takes_no_keys_and_is_its_users_alone(lab: Lab, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/in"
    pull = lab._keep(make(lab.context, zmq.PULL, bind=address, security=lab.server, domain=INBOX))
    assert (tmp_path / "in").stat().st_mode & 0o777 == 0o600
    push = lab._keep(make(lab.others, zmq.PUSH, connect=address, security=pair()))
    until(lambda: push.poll(100, zmq.POLLOUT))
    push.send(b"x")
    assert pull.poll(10_000) and pull.recv(copy=False).bytes == b"x"


def test_an_identity_belongs_to_the_key_that_came_with_it() -> None:
    routes = Routes()
    whole = own_identity(b"i" * 16, secured=True)
    assert len(whole) == 32 and own_identity(b"i" * 16, secured=False) == b"i" * 16
    assert routes.to(b"i" * 16) == b"i" * 16
    assert routes.came(whole, "one") == b"i" * 16
    assert routes.came(b"i" * 16 + b"s" * 16, "two") is None and routes.to(b"i" * 16) == whole
    again = own_identity(b"i" * 16, secured=True)
    assert routes.came(again, "one") == b"i" * 16 and routes.to(b"i" * 16) == again
    routes.forget({"one"})
    assert routes.came(whole, "two") == b"i" * 16


def test_files_work_at_a_gate(lab: Lab, tmp_path: Path) -> None:
    keys.make_folder(tmp_path / "keys")
    lab.guard().admit(CONTROL, keys.allowed(tmp_path / "keys"))
    router = lab.bind(security=keys.read_keys(tmp_path / "keys", ("broker",)))
    until(stands(lab.dealer(router, keys.read_keys(tmp_path / "keys", ("node",)))))
