"""Where members stand: with which of them does a newcomer have links, and on which hosts are these?

A newcomer is compared with few members, however many there are. Members of one place (a stage, the sinks, the
broker) have links with the same others, and members of one site (a host) reach the same others. So it is
places and sites that are looked at, and of the members only those that are chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from zturbo.wire.control.view import Member
from zturbo_broker.members.reach import far_hosts, linked, share_host

__all__ = ["Places"]

_Site = tuple[str, frozenset[str]]
"""A host: its name, and its addresses for other hosts. Two hosts may have one name."""


class _Place:
    """The members of a stage, the sinks, or the broker."""

    __slots__ = ("any", "confined", "sites")

    def __init__(self, member: Member) -> None:
        self.any = member
        """One of them: what it has links with, the others have links with too."""
        self.sites: dict[_Site, dict[bytes, Member]] = {}
        """Members by host. Both dicts are in the order of turns: what was chosen last comes last."""
        self.confined: dict[_Site, None] = {}
        """Hosts whose members other hosts do not reach."""


class Places:
    """The members that have said hello to this broker, by place and host."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, str, int, bool], _Place] = {}
        self._order: dict[bytes, int] = {}
        """Member -> when it came: a number that grows."""
        self._next = 0
        self.steps = 0
        """Places, hosts and members that were looked at, for tests."""

    def add(self, member: Member) -> None:
        """A member has joined."""
        place = self._all.get(_place(member))
        if place is None:
            place = self._all[_place(member)] = _Place(member)
        site = _site(member)
        place.sites.setdefault(site, {})[member.incarnation] = member
        if not site[1]:
            place.confined[site] = None
        self._order[member.incarnation] = self._next
        self._next += 1

    def remove(self, member: Member) -> None:
        """A member has left. One that was not added is no matter."""
        if self._order.pop(member.incarnation, None) is None:
            return
        place, site = self._all[_place(member)], _site(member)
        here = place.sites[site]
        del here[member.incarnation]
        if here:
            return
        del place.sites[site]
        place.confined.pop(site, None)
        if not place.sites:
            del self._all[_place(member)]

    def _linked(self, member: Member) -> list[_Place]:
        """The places with which it has links; the workers' come last."""
        self.steps += len(self._all)
        found = [place for place in self._all.values() if linked(member, place.any)]
        return sorted(found, key=lambda place: place.any.role == "worker")

    def apart(self, member: Member) -> Member | None:
        """The first member with which it has a link over which one of the two cannot reach the other.

        A sink on the member's own spool does not count: it is an earlier one.
        """
        far = bool(far_hosts(member))
        found: list[Member] = []
        for place in self._linked(member):
            for site in place.confined if far else place.sites:
                self.steps += 1
                if site[0] != member.host:
                    there = place.sites[site].values()
                    found += [m for m in there if not member.spool or m.spool != member.spool]
        return min(found, key=lambda m: self._order[m.incarnation], default=None)

    def choose(self, member: Member, most: int, but: Collection[bytes] = ()) -> list[Member]:
        """Some members with which this one has links between hosts: of as many hosts as may be.

        The broker and the sinks come first. Hosts take turns, and so do the members of each. So at the start
        of a hundred workers each is tried with a few, and each is asked by about as many.

        Args:
            member: whose links are to be tried.
            most: how many to choose.
            but: members that are not to be chosen.
        """
        places = self._linked(member)
        chosen: dict[bytes, Member] = {}
        hosts: set[str] = set()
        for again in (False, True):  # one member of each host, and then others
            for workers in (False, True):
                turns = [
                    self._candidates(
                        place, member, {member.incarnation, *but}, chosen, None if again else hosts
                    )
                    for place in places
                    if (place.any.role == "worker") is workers
                ]
                while turns and len(chosen) < most:
                    turn = turns.pop(0)
                    other = next(turn, None)
                    if other is not None:
                        chosen[other.incarnation] = other
                        hosts.add(other.host)
                        turns.append(turn)
        for other in chosen.values():
            sites = self._all[_place(other)].sites
            here = sites[_site(other)] = sites.pop(_site(other))
            here[other.incarnation] = here.pop(other.incarnation)
        return list(chosen.values())

    def _candidates(
        self,
        place: _Place,
        member: Member,
        but: Collection[bytes],
        chosen: dict[bytes, Member],
        hosts: set[str] | None,
    ) -> Iterator[Member]:
        """Members of a place on other hosts, in turn: one of each host that is not among ``hosts``, or, if
        that is None, all that are not chosen."""
        for site, here in place.sites.items():
            self.steps += 1
            if hosts is not None and site[0] in hosts:
                continue
            for other in here.values():
                self.steps += 1
                if share_host(member, other):
                    break  # and so do the others of this host
                if other.incarnation not in but and other.incarnation not in chosen:
                    yield other
                    if hosts is not None:
                        break

    def check(self, members: Collection[Member]) -> None:
        """Assert that these members are here, and no others."""
        here = [m for place in self._all.values() for site in place.sites.values() for m in site.values()]
        assert {m.incarnation for m in here} == {m.incarnation for m in members} == self._order.keys()
        assert all(place.sites and all(place.sites.values()) for place in self._all.values())


def _place(member: Member) -> tuple[str, str, int, bool]:
    return member.role, member.pipeline, member.stage, member.ordered


def _site(member: Member) -> _Site:
    return member.host, far_hosts(member)
