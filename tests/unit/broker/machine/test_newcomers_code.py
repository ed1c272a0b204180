"""The code of workers that join: told where it differs, and refused where the file wants one code."""

from __future__ import annotations

from zturbo.core.effects import LogLine
from zturbo.wire.control.view import Member
from zturbo_broker.machine.known import Known, PipelineInfo
from zturbo_broker.machine.newcomers_code import NewcomersCode


class NoArchive:
    """A ledger without jobs."""

    def find(self, *jobs: bytes) -> None:
        return None

    def ended(self, before: int | None, most: int) -> list[object]:
        return []


def worker(number: int, code: str) -> Member:
    return Member(bytes([number]) * 16, "worker", "p", 0, f"h{number}", ("tcp://10.0.0.1:1",), code=code)


def here(mode: str, draining: frozenset[bytes] = frozenset()) -> tuple[Known, NewcomersCode]:
    """A stage with one worker, whose code is ``old``."""
    broker = Member(b"B" * 16, "broker", "", -1, "h", ("ipc://x",))
    known = Known(
        broker,
        [PipelineInfo("p", ["a"], code=mode)],
        view=1,
        lease=5.0,
        version="1",
        cluster=b"",
        archive=NoArchive(),  # type: ignore[arg-type]
    )
    known.membership.join(worker(1, "old"), b"n", 1, 0, 0.0)
    known.codes.saw(worker(1, "old"))
    return known, NewcomersCode(known, draining)


def test_other_code_is_told_and_new_jobs_get_it() -> None:
    known, codes = here("job")
    assert codes.unlike(worker(2, "new"), 0.0) is None
    codes.joined(worker(2, "new"))
    (line,) = [effect for effect in known.effects if isinstance(effect, LogLine)]
    assert line.text == "on h2 it has code new, on h1 old: no job goes to both" and line.source == "p.a"
    (choice,) = known.codes.choices("p", [[worker(1, "old"), worker(2, "new")]], frozenset())
    assert choice.newest == "new"


def test_nothing_is_told_where_it_does_not_matter() -> None:
    for mode, code in (("job", "old"), ("job", ""), ("any", "new")):
        known, codes = here(mode)
        codes.joined(worker(2, code))
        assert not known.effects


def test_other_code_is_refused_where_the_file_wants_one() -> None:
    known, codes = here("same")
    text = codes.unlike(worker(2, "new"), 0.0)
    assert text is not None and "its code is new, that of p.a on h1 old: bring the same code" in text
    assert known.problems.of("p", 0, 0.0) == text
    assert [effect.text for effect in known.effects if isinstance(effect, LogLine)] == [
        f"refused on h2: {text}"
    ]
    assert codes.unlike(worker(2, "old"), 0.0) is None and codes.unlike(worker(2, ""), 0.0) is None


def test_a_worker_that_leaves_does_not_count() -> None:
    _, codes = here("same", frozenset({worker(1, "old").incarnation}))
    assert codes.unlike(worker(2, "new"), 0.0) is None


def test_what_an_earlier_broker_has_left_is_no_worker_until_it_says_hello() -> None:
    for mode in ("job", "same"):
        known, codes = here(mode)
        known.membership.remove(worker(1, "old").incarnation)
        known.membership.restore([worker(1, "old")], 0.0)
        codes.joined(worker(2, "new"))
        assert codes.unlike(worker(2, "new"), 0.0) is None and not known.effects, "it may be long dead"
        text = codes.awaits(worker(2, "new"))
        if mode == "same":  # it may also come back
            assert text is not None and "it waits for p.a on h1, which has other code" in text
        else:
            assert text is None
        assert codes.awaits(worker(2, "old")) is None is codes.awaits(worker(2, ""))
        known.membership.join(worker(1, "old"), b"n", 1, 1, 1.0)
        codes.joined(worker(2, "new"))
        assert known.effects
