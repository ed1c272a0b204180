"""One job, one code: which version of each stage's code a job goes on with.

Workers tell a fingerprint of their code. A job is placed on the newest code of each stage, and its stamp
names the codes. So its tasks go to workers with these codes alone, also in later epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set

from zturbo.slotted import slotted
from zturbo.wire.control.view import Member

__all__ = ["MODES", "Choice", "Codes", "choose", "code_gone", "other_code"]

MODES = ("job", "restart", "same", "any")
"""What a pipeline does when workers of a stage have different code. ``job``: each job keeps the code with
which it began. ``restart``: so too, but a job whose code has gone starts over with the newest. ``same``: no
worker joins whose code differs from the others'. ``any``: a job may go to all of them."""

REMEMBERED = 64
"""Codes of a stage whose age is remembered."""


@slotted(frozen=True)
class Choice:
    """The codes of a stage's living workers, and the one that new jobs get."""

    living: frozenset[str]
    """Without those that are not known."""
    newest: str
    unknown: bool = False
    """Whether there are workers whose code is not known."""


class Codes:
    """Which codes each stage has had, the oldest first."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], dict[str, None]] = {}

    def saw(self, member: Member) -> None:
        """A worker has joined. A code that was there before stays as old as it is."""
        if member.role == "worker" and member.code:
            seen = self._seen.setdefault((member.pipeline, member.stage), {})
            seen.setdefault(member.code)
            while len(seen) > REMEMBERED:
                del seen[next(iter(seen))]

    def by_age(self, pipeline: str, stage: int, codes: Iterable[str]) -> list[str]:
        """Codes of a stage, the oldest first."""
        seen = [*self._seen.get((pipeline, stage), ())]
        return sorted(codes, key=lambda code: (seen.index(code) if code in seen else -1, code))

    def choices(
        self, pipeline: str, workers: Sequence[Sequence[Member]], leaving: Set[bytes]
    ) -> list[Choice]:
        """The choice at each stage.

        Args:
            pipeline: its name.
            workers: the living workers of each stage.
            leaving: members that are about to leave; they count only where there are no others.
        """
        return [self._choice(pipeline, stage, here, leaving) for stage, here in enumerate(workers)]

    def _choice(self, pipeline: str, stage: int, here: Sequence[Member], leaving: Set[bytes]) -> Choice:
        living = frozenset([member.code for member in here if member.code])
        unknown = any(not member.code for member in here)
        if len(living) < 2:
            return Choice(living, next(iter(living), ""), unknown)
        staying = {member.code for member in here if member.incarnation not in leaving} & living
        seen = [code for code in self._seen.get((pipeline, stage), ()) if code in (staying or living)]
        return Choice(living, seen[-1] if seen else min(living), unknown)


def choose(mode: str, choices: Sequence[Choice], kept: dict[int, str]) -> dict[int, str] | int:
    """The code of each stage for a job.

    Args:
        mode: the pipeline's.
        choices: of each stage.
        kept: the codes with which the job began.

    Returns:
        Stage -> code, without stages where any code will do; or a stage that has the job's code no more.
    """
    if mode == "any":
        return {}
    codes: dict[int, str] = {}
    for stage, choice in enumerate(choices):
        code = kept.get(stage, choice.newest)
        if (choice.living or choice.unknown) and code not in choice.living:
            if code and mode != "restart":
                return stage
            code = choice.newest
        if code:
            codes[stage] = code
    return codes


def code_gone(codes: dict[int, str], workers: Callable[[int], Sequence[Member]]) -> int | None:
    """A stage that has workers, and none with a job's code; None if there is no such stage.

    Args:
        codes: stage -> the job's code there.
        workers: gives the living workers of a stage.
    """
    for stage, code in codes.items():
        here = workers(stage)
        if here and all(member.code != code for member in here):
            return stage
    return None


def other_code(pipeline: str, stage: str, code: str, living: Iterable[str]) -> str:
    """What a job waits for whose code has gone, for people."""
    return (
        f"a worker of stage {pipeline}.{stage} with code {code}, with which the job began; its workers have "
        f"code {', '.join(sorted(living)) or 'unknown'} now: put the old code back there, or cancel the job "
        f'and submit it again (or set code = "restart" for pipeline {pipeline})'
    )
