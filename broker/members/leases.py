"""Which members live: their leases, and the numbered view. When is a member declared dead?

The broker alone decides: a member lives as long as it is in the view. It joins by its hello. It leaves the
view when

* its node saw it exit, or it said itself that it leaves;
* its lease, five seconds if nothing else is set, has run out on the broker's clock. The member's hello renews
  it each second. Its node renews it each quarter of a lease, unless the kernel shows the process as stopped
  or dead. So a process whose code holds the interpreter is busy, not dead. A member that rests says no
  hello, and its node may stand still: so a member that was not heard of for half a lease is asked for one;
* its links are broken for a lease: ``complaints.py`` says when that is, ``verdict.py`` which end goes;
* it yields to another member: to a newer sink on its spool, or to a member that it cannot reach
  (``machine/from_members.py``: ``hello`` has the first rule, ``_apart`` the second).

A broker that was started again gives all members a full lease. A broker that stood still for a while adds
that time to all leases. A long task makes no member dead: a task's time-out ends the process, and the node
sees that. A member that says it has a view, and is not in the present one, is fenced: it exits, and its node
starts another. What follows for the jobs is in ``machine/departures.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from zturbo.slotted import slotted
from zturbo.wire.control.fields import COUNT
from zturbo.wire.control.report import Report
from zturbo.wire.control.view import Member, View
from zturbo_broker.members.coded import Coded
from zturbo_broker.members.places import Places
from zturbo_broker.members.reports import Reports

__all__ = ["UNKNOWN", "About", "Membership"]


MOST_NODES = 10_000
"""Nodes of which it is kept what they want."""


@slotted(frozen=True)
class About:
    """What a process tells of itself, for people. Nothing is decided by it."""

    version: str = ""
    """Of zturbo."""
    python: str = ""
    code: str = ""
    """Fingerprint of its stage's code."""
    cpu: int = 0
    """Percent of one core, lately."""
    memory: int = 0
    """Bytes."""


UNKNOWN = About()
"""Of a member that has not said hello to this broker yet."""


@slotted
class _Lease:
    member: Member
    node: bytes
    pid: int
    until: float
    heard: float
    """When it last said hello itself."""
    asked: bool = False
    """Whether it was asked for a hello, since nothing was heard of it."""
    met: bool = True
    """Whether it has said hello to this broker, not only to an earlier one."""
    extended: float = 0.0
    """Seconds that were added to it since it was renewed."""
    about: About = UNKNOWN
    reports: Reports | None = None
    """What it has measured of itself; None before its first report."""

    def due(self, seconds: float) -> float:
        """When to ask for a hello; once that was asked for, when the lease runs out.

        Args:
            seconds: of a whole lease.
        """
        return self.until - (not self.asked) * seconds / 2


class Membership:
    """The members and their leases.

    Args:
        broker: the broker's own record; it is in every view.
        number: the view to begin with.
        lease: seconds that a member lives without being renewed.
    """

    def __init__(self, broker: Member, *, number: int, lease: float) -> None:
        self.broker = broker
        self.number = number
        self.lease = lease
        self._leases: dict[bytes, _Lease] = {}
        self.places = Places()
        """The broker, and the members that have said hello to it."""
        self.places.add(broker)
        self.coded = Coded()
        """All members, by code."""
        self._view: View | None = None
        """The present view, once it was asked for."""
        self._look_at = math.inf
        """No lease runs out before, and nobody is to be asked for a hello: to look at all leases each time
        would cost too much."""
        self._left: list[bytes] = []
        """Members that have left, since :meth:`take_left` was last called."""
        self._wanted: dict[bytes, tuple[dict[str, int], float]] = {}
        """Node -> the processes that it is to keep running, and when it said so."""

    def restore(self, members: list[Member], now: float) -> None:
        """Begin with the members of an earlier broker, with a full lease each."""
        for member in members:
            lease = _Lease(member, b"", 0, now + self.lease, now, met=False)
            self._leases[member.incarnation] = lease
            self._look_at = min(self._look_at, lease.due(self.lease))
            self.coded.add(member)
        self._view = None

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, incarnation: bytes) -> bool:
        return incarnation in self._leases

    def members(self, pipeline: str | None = None, stage: int | None = None) -> list[Member]:
        """Members, perhaps of one stage, in the order of joining."""
        return [
            lease.member
            for lease in self._leases.values()
            if (pipeline is None or lease.member.pipeline == pipeline)
            and (stage is None or lease.member.stage == stage)
        ]

    def count(self, pipeline: str, stage: int) -> int:
        """How many workers of a stage have said hello to this broker. Others may be long dead."""
        found = (lease for lease in self._leases.values() if lease.met)
        return sum(lease.member.pipeline == pipeline and lease.member.stage == stage for lease in found)

    def met(self) -> list[Member]:
        """Members that have said hello to this broker. Others, known from the ledger, may be long dead."""
        return [lease.member for lease in self._leases.values() if lease.met]

    def unmet(self, incarnation: bytes) -> bool:
        """Whether it is a member that has not said hello to this broker yet."""
        lease = self._leases.get(incarnation)
        return lease is not None and not lease.met

    def get(self, incarnation: bytes) -> Member | None:
        """A member."""
        lease = self._leases.get(incarnation)
        return None if lease is None else lease.member

    def heard(self, incarnation: bytes) -> float | None:
        """When a member last said hello itself; None if it is none."""
        lease = self._leases.get(incarnation)
        return None if lease is None else lease.heard

    def node_of(self, incarnation: bytes) -> bytes | None:
        """The node of a member, empty if it has not said hello to this broker; None if it is no member."""
        lease = self._leases.get(incarnation)
        return None if lease is None else lease.node

    def pid_of(self, incarnation: bytes) -> int:
        """The process id of a member; 0 if it is not known."""
        lease = self._leases.get(incarnation)
        return 0 if lease is None else lease.pid

    def nodes(self, pipeline: str) -> list[bytes]:
        """The nodes that have workers of a pipeline."""
        here = {lease.node for lease in self._leases.values() if lease.member.pipeline == pipeline}
        return sorted(here - {b""})

    def sinks(self) -> list[Member]:
        """The living sinks."""
        return [lease.member for lease in self._leases.values() if lease.member.role == "sink"]

    def join(self, member: Member, node: bytes, pid: int, claimed: int, now: float) -> bool | None:
        """A member says hello. Returns whether the view changed; None if the member is fenced."""
        known = self._leases.get(member.incarnation)
        if known is not None:
            known.until = max(known.until, now + self.lease)
            known.asked, known.extended = False, 0.0
            self._look_at = min(self._look_at, known.due(self.lease))
            known.heard = now
            if not known.met:
                known.met = True
                self.places.add(known.member)
            known.node, known.pid = node, pid
            return False
        if claimed > 0:
            return None
        lease = self._leases[member.incarnation] = _Lease(member, node, pid, now + self.lease, now)
        self.places.add(member)
        self.coded.add(member)
        self._look_at = min(self._look_at, lease.due(self.lease))
        self.number += 1
        return True

    def note(self, incarnation: bytes, about: About) -> None:
        """Note what a member tells of itself."""
        lease = self._leases.get(incarnation)
        if lease is not None:
            lease.about = about

    def measured(self, incarnation: bytes, report: Report, now: float) -> None:
        """Note what a member has measured of itself."""
        lease = self._leases.get(incarnation)
        if lease is not None:
            if lease.reports is None:
                lease.reports = Reports()
            lease.reports.add(report, now)

    def reports(self, incarnation: bytes) -> Reports | None:
        """What a member has measured of itself; None if it has told nothing."""
        lease = self._leases.get(incarnation)
        return None if lease is None else lease.reports

    def told(self, now: float) -> list[tuple[Member, int, About, float]]:
        """(member, process id, what it tells, seconds since it or its node was heard) of each member that has
        said hello to this broker."""
        return [
            (lease.member, lease.pid, lease.about, max(0.0, now - max(lease.heard, lease.until - self.lease)))
            for lease in self._leases.values()
            if lease.met
        ]

    def renew(self, alive: Iterable[bytes], now: float) -> None:
        """A node says that these members live."""
        for incarnation in alive:
            lease = self._leases.get(incarnation)
            if lease is not None:
                lease.until = now + self.lease
                lease.asked, lease.extended = False, 0.0
                self._look_at = min(self._look_at, lease.due(self.lease))

    def wants(self, node: bytes, wanted: dict[str, int], now: float) -> None:
        """A node says which processes it is to keep running."""
        if node not in self._wanted and len(self._wanted) >= MOST_NODES:
            self._wanted = {
                node: told for node, told in self._wanted.items() if told[1] > now - 2 * self.lease
            }
            if len(self._wanted) >= MOST_NODES:
                return
        self._wanted[node] = (wanted, now)

    def wanted(self, name: str, now: float) -> int:
        """How many processes of this name the nodes are to keep running: those that were heard lately."""
        lately = (wanted for wanted, at in self._wanted.values() if at > now - 2 * self.lease)
        return min(COUNT, sum(wanted.get(name, 0) for wanted in lately))

    def extend(self, seconds: float) -> None:
        """Add time in which the broker could hear no member to all leases.

        Where that happens again and again, as on a slow disk, a member that nobody renews meanwhile gets one
        lease more in all: its host may be dead.
        """
        for lease in self._leases.values():
            more = max(0.0, min(seconds, max(seconds, self.lease) - lease.extended))
            lease.until += more
            lease.extended += more

    def remove(self, incarnation: bytes) -> Member | None:
        """Take a member out of the view. Returns None if it is no member."""
        lease = self._leases.pop(incarnation, None)
        if lease is None:
            return None
        self.number += 1
        self._left.append(incarnation)
        self.places.remove(lease.member)
        self.coded.remove(lease.member)
        return lease.member

    def take_left(self) -> tuple[bytes, ...]:
        """Members that have left since this was last asked."""
        left, self._left = self._left, []
        return tuple(left)

    def expire(self, now: float) -> list[Member]:
        """Take out the members whose leases have run out, and return them. Called after :meth:`ask`."""
        if now < self._look_at:
            return []
        late = [inc for inc, lease in self._leases.items() if lease.until <= now]
        gone = [member for inc in late if (member := self.remove(inc)) is not None]
        self._look_at = min((lease.due(self.lease) for lease in self._leases.values()), default=math.inf)
        return gone

    def ask(self, now: float) -> list[bytes]:
        """Members that are to be asked for a hello: half of their leases is over. Each is returned once."""
        if now < self._look_at:
            return []
        half = now + self.lease / 2
        quiet = [inc for inc, lease in self._leases.items() if not lease.asked and lease.until <= half]
        for incarnation in quiet:
            self._leases[incarnation].asked = True
        return quiet

    def deadline(self) -> float | None:
        """When to call :meth:`ask` and :meth:`expire` next: no lease runs out before, and no member is to be
        asked for a hello."""
        return None if self._look_at == math.inf else self._look_at

    def view(self) -> View:
        """The present view."""
        if self._view is None or self._view.number != self.number:
            members = [self.broker, *(lease.member for lease in self._leases.values())]
            self._view = View(self.number, {member.incarnation: member for member in members})
        return self._view

    def check(self) -> None:
        """Assert every invariant."""
        assert all(inc == lease.member.incarnation for inc, lease in self._leases.items())
        assert all(self._look_at <= lease.due(self.lease) for lease in self._leases.values())
        self.places.check([self.broker, *self.met()])
        self.coded.check(self._leases)
