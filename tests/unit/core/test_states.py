"""A table of states lets an object go where it says, and tells the object's story where it does not."""

from __future__ import annotations

import pytest

from zturbo.core.states import STORY, ImpossibleTransition, State, Table


class Door(State):
    OPEN = "open"
    SHUT = "shut"
    GONE = "gone"


MEANINGS = {Door.OPEN: "air goes through", Door.SHUT: "none does", Door.GONE: "there is no door any more"}
DOOR = Table(
    "A door",
    MEANINGS,
    [
        (Door.OPEN, Door.SHUT, "somebody shuts it"),
        (Door.SHUT, Door.OPEN, "somebody opens it"),
        (Door.OPEN, Door.GONE, "it is taken out"),
    ],
)


def test_only_moves_of_the_table_are_made() -> None:
    for old in Door:
        for new in Door:
            if (old, new) in DOOR.transitions:
                assert DOOR.move(old, new) is new
            else:
                with pytest.raises(ImpossibleTransition, match=f"A door: {old} -> {new} is not in the table"):
                    DOOR.move(old, new)
    assert DOOR.start is Door.OPEN
    assert DOOR.last == {Door.GONE}


def test_the_error_tells_the_last_moves() -> None:
    story: list[str] = []
    state = DOOR.start
    for i in range(STORY):
        state = DOOR.move(state, Door.SHUT, story, f"shut {i}")
        state = DOOR.move(state, Door.OPEN, story)
    assert len(story) == STORY
    with pytest.raises(ImpossibleTransition, match=r"at a storm; before that: .* shut -> open$") as raised:
        DOOR.move(state, Door.OPEN, story, "a storm")
    assert "(shut 25)" in str(raised.value)
    assert "(shut 24)" not in str(raised.value)


def test_a_table_with_a_mistake_is_refused() -> None:
    with pytest.raises(ValueError, match="stands there twice"):
        Table("A door", MEANINGS, [(Door.OPEN, Door.SHUT, "once"), (Door.OPEN, Door.SHUT, "again")])
    with pytest.raises(ValueError, match="not described"):
        Table("A door", {Door.OPEN: "air goes through"}, [(Door.OPEN, Door.SHUT, "somebody shuts it")])


def test_a_state_is_its_text() -> None:
    """So it may go into a message, a row or a sentence as it is."""
    assert f"{Door.OPEN}" == str(Door.OPEN) == Door.OPEN == "open"
    assert {"open"} == {Door.OPEN}
