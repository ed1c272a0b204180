"""slotted: what its classes have of a dataclass."""

from __future__ import annotations

import pytest

from zturbo.slotted import field, replace, slotted


@slotted
class Point:
    x: int
    y: int = 0
    seen: list[int] = field(default_factory=list)
    far: bool = field(init=False)

    def __post_init__(self) -> None:
        self.far = self.x + self.y > 10


@slotted(frozen=True)
class Name:
    first: str
    last: str = ""


@slotted(eq=False)
class Seat:
    row: int


def test_the_constructor_takes_each_field() -> None:
    point = Point(7, seen=[1], y=8)
    assert (point.x, point.y, point.seen, point.far) == (7, 8, [1], True)
    assert not Point(1).far


def test_each_object_gets_a_default_of_its_own() -> None:
    assert Point(1).seen is not Point(1).seen


@pytest.mark.parametrize("values", [{}, {"x": 1, "z": 2}, {"x": 1, "far": True}], ids=str)
def test_a_missing_or_unknown_value_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"Point.__init__\(\)"):
        Point(**values)  # type: ignore[arg-type]


def test_an_object_has_slots_alone() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 1  # type: ignore[attr-defined]
    assert not hasattr(Point(1), "__dict__")


def test_objects_are_equal_if_their_fields_are() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != (1, 2, [], False)
    assert Name("a") != Seat(1)


def test_objects_without_eq_are_equal_to_themselves_alone() -> None:
    seat = Seat(1)
    assert seat == seat
    assert seat != Seat(1)
    assert len({seat, Seat(1)}) == 2


def test_a_frozen_object_cannot_be_changed_and_has_a_hash() -> None:
    name = Name("a", "b")
    with pytest.raises(AttributeError, match=r"Name\.first cannot be changed"):
        name.first = "c"  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Name\.first cannot be changed"):
        del name.first
    assert {name: 1}[Name("a", "b")] == 1


def test_an_object_that_can_be_changed_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(1))


def test_repr_shows_each_field() -> None:
    assert repr(Point(1, 2)) == "Point(x=1, y=2, seen=[], far=False)"


def test_replace_copies_what_is_not_changed() -> None:
    point = Point(1, 2, [3])
    assert replace(point, y=20) == Point(1, 20, [3])
    assert point == Point(1, 2, [3])
    assert replace(Name("a", "b"), first="c") == Name("c", "b")
    with pytest.raises(TypeError):
        replace(point, z=1)


def test_patterns_take_fields_by_position() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
        case _:
            pytest.fail("a point is a point")
