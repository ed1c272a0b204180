"""What each role may send, in whose name, and about which jobs."""

from __future__ import annotations

import pytest

from zturbo.errors import AccessDenied
from zturbo.slotted import slotted
from zturbo.wire.control import to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.report import Report
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL
from zturbo_broker.members.leases import Membership
from zturbo_broker.members.rights import MAY, Rights, User

ME, MINE, THEIRS, NODE, JOB, CLIENT = (bytes([letter]) * 16 for letter in b"bmtnjc")
ONE, TWO = "1" * 40, "2" * 40


@slotted
class Owned:
    owner: str


def member(incarnation: bytes, key: str) -> Member:
    return Member(incarnation, "worker", "p", 0, "h", ("ipc:///x",), key=key)


def rights(*, shared: bool = False) -> Rights:
    membership = Membership(
        Member(ME, "broker", "", -1, "h", ("ipc:///b",), key="b" * 40), number=1, lease=5.0
    )
    for incarnation, key in ((MINE, ONE), (THEIRS, TWO)):
        membership.join(member(incarnation, key), NODE, 1, 0, 0.0)
    return Rights(membership, {JOB: Owned("ann")}.get, shared=shared)


def user(role: str, name: str = "ann", key: str = ONE) -> User:
    return User(role, name, key)


def messages() -> dict[str, Message]:
    """A message of each kind, from or about ``MINE`` and ``JOB``."""
    of = {"incarnation": MINE}
    return {
        message.type_name: message
        for message in (
            to_broker.Hello(
                member=member(MINE, ""),
                node=NODE,
                pid=1,
                protocol=PROTOCOL,
                version="",
                python="",
                stage_name="s",
                code="",
                view=0,
                jobs=(),
            ),
            to_broker.GetView(),
            to_broker.Leave(**of),
            to_broker.Progress(**of, counts={}),
            to_broker.LastCounts(**of, counts={}),
            to_broker.Broken(**of, peer=THEIRS),
            to_broker.Pinging(**of, trial=1),
            to_broker.Pinged(**of, source=THEIRS, trial=1),
            to_broker.Draining(**of),
            to_broker.Trouble(**of, text=""),
            to_broker.Log(**of, source="s", records=(), dropped=0),
            to_broker.Held(**of, broker=ME, items=()),
            to_broker.Entered(**of, job=JOB, epoch=1, roots=()),
            to_broker.Recovered(**of, jobs=(), damaged=()),
            to_broker.Pause(**of, job=JOB, epoch=1),
            to_broker.RootsTaken(**of, job=JOB, epoch=1, taken=(1, 2, 0)),
            to_broker.Complete(**of, jobs=()),
            to_broker.KnownFailures(**of, job=JOB, epoch=1, failures=()),
            to_broker.JobFailed(**of, job=JOB, epoch=1, kind="JobFailed", error="e"),
            to_broker.Renew(node=NODE, alive=(MINE,)),
            to_broker.Exited(
                ref=1, node=NODE, incarnation=MINE, code=0, text="", who="w", cause="", running=()
            ),
            to_broker.StartFailed(ref=1, node=NODE, incarnation=MINE, who="w", error="", traceback=""),
            to_broker.Seen(node=NODE, number=1, data=b"", error=""),
            to_broker.ClientHello(ref=1, client=CLIENT, protocol=PROTOCOL, version=""),
            to_broker.Submit(ref=1, client=CLIENT, jobs=()),
            to_broker.Feed(ref=1, job=JOB, seq=0, first=0, n=1, metas=None),
            to_broker.CloseFeed(ref=1, job=JOB, chunks=0, total=0),
            to_broker.Attach(ref=1, job=JOB),
            to_broker.Watch(ref=1, jobs=(JOB,)),
            to_broker.Cancel(ref=1, job=JOB),
            to_broker.Release(ref=1, job=JOB),
            to_broker.Jobs(ref=1, job=JOB, over=()),
            to_broker.Members(ref=1),
            to_broker.Measured(incarnation=MINE, report=Report(clock=1)),
            to_broker.Telemetry(ref=1),
            to_broker.Look(ref=1, target=MINE, kind="stack"),
            to_broker.Logs(ref=1, after=0, job=JOB, source=""),
        )
    }


MESSAGES = messages()
OF_CLIENTS = {
    *("client_hello", "submit", "feed", "close_feed", "attach", "watch", "cancel", "release", "jobs"),
    *("members", "logs", "telemetry", "look"),
}
CHANGES = {"submit", "feed", "close_feed", "cancel", "release"}
OF_A_JOB = {"feed", "close_feed", "attach", "watch", "cancel", "release", "jobs", "logs"}


def takes(user: User, message: Message, **options: bool) -> bool:
    try:
        return rights(**options).check(user, CLIENT, message)
    except AccessDenied:
        return False


def test_each_kind_of_message_is_in_the_table() -> None:
    assert set(MAY) == set(to_broker.MESSAGES.values()) == {type(one) for one in MESSAGES.values()}


def test_each_role_may_send_its_own_kinds_alone() -> None:
    may = {
        role: {name for name, message in MESSAGES.items() if takes(user(role), message)}
        for role in ("node", "client", "viewer", "admin", "broker", "")
    }
    assert may["node"] == MESSAGES.keys() - OF_CLIENTS
    assert may["client"] == may["admin"] == OF_CLIENTS
    assert may["viewer"] == OF_CLIENTS - CHANGES
    assert may["broker"] == may[""] == set()


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - OF_CLIENTS - {"get_view"}))
def test_a_nodes_key_speaks_for_its_own_members_alone(name: str) -> None:
    with pytest.raises(AccessDenied, match="another node's key"):
        rights().check(user("node", "other", TWO), MINE, MESSAGES[name])


@pytest.mark.parametrize("role", ["node", "client", "viewer", "admin"])
def test_an_identity_that_is_a_members_is_nobody_elses(role: str) -> None:
    """Else the broker's answers to that member would go to the thief."""
    name = "renew" if role == "node" else "members"
    with pytest.raises(AccessDenied, match="another node's key"):
        rights().check(user(role, key="x" * 40), MINE, MESSAGES[name])


def test_who_is_no_member_has_no_say() -> None:
    """Though it may come in, and say that it leaves."""
    told = MESSAGES.keys() - OF_CLIENTS
    some = rights()
    some.membership.remove(MINE)
    heard = {name for name in told if some.check(user("node"), MINE, MESSAGES[name])}
    assert heard == {
        *(
            "hello",
            "get_view",
            "leave",
            "pinging",
            "pinged",
            "draining",
            "renew",
            "exited",
            "start_failed",
            "seen",
        )
    }


def test_nobody_speaks_for_the_broker() -> None:
    for message in (to_broker.Leave(incarnation=ME), to_broker.Renew(node=NODE, alive=(MINE, ME))):
        with pytest.raises(AccessDenied):
            rights().check(user("node"), ME, message)


@pytest.mark.parametrize("name", sorted(OF_A_JOB))
def test_a_job_is_its_owners(name: str) -> None:
    message = MESSAGES[name]
    assert not takes(user("client", "bob"), message)
    assert takes(user("client", "bob"), message, shared=True)
    assert takes(user("admin", "bob"), message)
    assert takes(user("viewer", "bob"), message) == (name not in CHANGES)


def test_a_job_that_is_not_there_is_nobodys() -> None:
    assert takes(user("client", "bob"), to_broker.Attach(ref=1, job=MINE))


@pytest.mark.parametrize("name", ["client_hello", "submit"])
def test_a_client_speaks_in_its_own_name(name: str) -> None:
    with pytest.raises(AccessDenied, match="another client's name"):
        rights().check(user("client"), MINE, MESSAGES[name])


def test_a_user_is_told_without_its_key() -> None:
    assert str(user("node", "gpu1")) == "node gpu1"
