"""Tables of states: which state of an object may follow which, and why.

An object keeps its state in a field, and changes it by :meth:`Table.move` alone. A move that is not in the
table raises :class:`ImpossibleTransition`, with the object's last moves. The docs draw the table.

This is code of our own: ``transitions`` and ``python-statemachine`` put methods and callbacks on each object,
and a move there costs microseconds. Here it is a look-up in a dict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Generic, TypeVar

from zturbo.errors import ZturboError
from zturbo.jobstates import State

__all__ = ["STORY", "ImpossibleTransition", "State", "Table"]

STORY = 50
"""Events that are kept of one object."""


S = TypeVar("S", bound=Enum)


class ImpossibleTransition(ZturboError):
    """An object was to make a move that is not in its table: a bug of zturbo."""


class Table(Generic[S]):
    """The states of one kind of object.

    Args:
        name: the kind of object, as a heading.
        states: each state, and what it means; objects begin in the first.
        transitions: (from, to, why it happens), each pair once.
    """

    def __init__(self, name: str, states: Mapping[S, str], transitions: Iterable[tuple[S, S, str]]) -> None:
        self.name = name
        self.states = dict(states)
        self.start = next(iter(self.states))
        self.transitions: dict[tuple[S, S], str] = {}
        self._told: dict[tuple[S, S], str] = {}
        """Each of these moves, as an object's story tells it."""
        for old, new, why in transitions:
            if {old, new} - self.states.keys():
                raise ValueError(f"{name}: {old.value} -> {new.value} has a state that is not described")
            if old is new or (old, new) in self.transitions:
                raise ValueError(
                    f"{name}: {old.value} -> {new.value} is no transition, or stands there twice"
                )
            self.transitions[old, new] = why
            self._told[old, new] = f"{old.value} -> {new.value}"

    @property
    def last(self) -> frozenset[S]:
        """The states that an object does not leave."""
        return frozenset(self.states) - {old for old, _ in self.transitions}

    def move(self, old: S, new: S, story: list[str] | None = None, event: str = "") -> S:
        """Return the new state, if it may follow the old one.

        Args:
            old: the object's state.
            new: the state that it is to have.
            story: the object's last events; this move is added to them.
            event: what happened, if that says more than the table.
        """
        move = self._told.get((old, new))
        if move is None:
            told = "; ".join(story or ()) or "nothing is known of it"
            what = f", at {event}" if event else ""
            raise ImpossibleTransition(
                f"{self.name}: {old.value} -> {new.value} is not in the table{what}; before that: {told}"
            )
        if story is not None:
            story.append(f"{move} ({event})" if event else move)
            if len(story) > STORY:
                del story[:-STORY]
        return new
