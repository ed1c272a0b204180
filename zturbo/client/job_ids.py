"""Ids of jobs: 16 bytes on the wire; for people 32 hexadecimal digits, their beginning, or the job's name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from zturbo.checks import check_type, wrong
from zturbo.errors import UsageError
from zturbo.jobstates import LIVE, WHY_CANCELLED, JobState
from zturbo.wire.carried import MAX_CARRIED, PLACE, carried_id, place_of
from zturbo.wire.control import answers

__all__ = ["is_job_id", "job_id_of", "pick_job", "short", "with_text_ids"]

SIZES = ("input_bytes", "memory", "stored")
"""What a status says of the bytes that a job takes."""

_WHOLE = re.compile(r"[0-9a-fA-F]{32}\Z")
_BEGUN = re.compile(rf"[0-9a-f]{{{2 * PLACE + 1},32}}\Z")


def is_job_id(value: object) -> bool:
    """Whether this is a whole id: 16 bytes, or 32 hexadecimal digits."""
    if isinstance(value, str):
        return _WHOLE.match(value) is not None
    return isinstance(value, bytes) and len(value) == 16


def job_id_of(field: str, value: Any) -> bytes:
    """The 16 bytes of a whole id.

    Raises:
        UsageError: the value is no whole id; the error names the field.
    """
    if not is_job_id(value):
        raise wrong(field, value, "a job's id: 32 hexadecimal digits, or their 16 bytes")
    return bytes.fromhex(value) if isinstance(value, str) else bytes(value)


def short(job_id: str) -> str:
    """The beginning of a job's id, which is enough for people."""
    return job_id[:12]


def pick_job(jobs: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Status of the job that a person names: by its id, by the first digits of its id, or by its name.

    Of one that shares its row with others, which travel with it, the id alone is its own.

    Args:
        jobs: statuses, as :meth:`zturbo.Client.jobs` gives them.
        name: the id, digits or name.

    Raises:
        UsageError: there is no such job, or more than one.
    """
    check_type("job", name, str, "a job's id, as many of its first digits as are unique, or its name")
    word = name.lower()
    found = [job for job in jobs if job["id"] == word]
    found = found or [job for job in jobs if word and job["id"].startswith(word)]
    found = found or [one for job in jobs if (one := _carried(job, word)) is not None]
    found = found or [job for job in jobs if job["name"] == name]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(f"{short(job['id'])} ({job['name']})" for job in found[:5])
        some += ", ..." if len(found) > 5 else ""
        raise UsageError(f"{name!r} may be any of {len(found)} jobs: {some}")
    if not jobs:
        raise UsageError(f"there is no job {name!r}: the broker has none at all")
    known = [part for job in jobs for part in (short(job["id"]), job["name"])]
    near = difflib.get_close_matches(word[:12], known, 1) or difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else "'zturbo jobs' lists them"
    raise UsageError(f"there is no job {name!r}; {hint}")


def _carried(job: dict[str, Any], word: str) -> dict[str, Any] | None:
    """The job whose id begins so, if it is one of those that share this row."""
    if not job.get("carries") or not _BEGUN.match(word):
        return None
    carrier = bytes.fromhex(job["carrier"] or job["id"])
    if not carrier.hex().startswith(word[2 * PLACE :], 2 * PLACE):
        return None
    one = bytes.fromhex(word[: 2 * PLACE]) + carrier[PLACE:]
    if not 0 <= place_of(one)[1] < MAX_CARRIED:
        return None
    return {**job, "id": one.hex(), "carrier": carrier.hex(), "carries": 0, "over": 0}


def joined(pages: Sequence[answers.Description]) -> answers.Description:
    """One description of all pages, with the jobs in the order of submission."""
    jobs = {job.id: job for page in pages for job in page.jobs}
    return pages[-1].but(jobs=tuple(sorted(jobs.values(), key=lambda job: job.number)))


def with_text_ids(description: answers.Description) -> dict[str, Any]:
    """A broker's description as a map, the ids of its jobs as text. Jobs that travel together are one row, or
    a row each if they have names of their own."""
    described = description.as_map()
    described["jobs"] = [row for job in described["jobs"] for row in _rows(job)]
    return described


def _rows(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one status: of the job, or of the jobs that it carries."""
    carrier, parts = job["id"], job.pop("parts")
    if not parts:
        return [{**job, "id": carrier.hex(), "carrier": job["carrier"].hex()}]
    options = {name: value for name, value in job["options"].items() if name != "order"}
    own = {**job, "options": options, "carries": 0, "over": 0, "carrier": carrier.hex()}
    share = {name: job[name] // job["carries"] for name in SIZES}
    return [{**own, **share, **_own(carrier, part)} for part in parts]


def _own(carrier: bytes, part: dict[str, Any]) -> dict[str, Any]:
    """What is of this job alone."""
    own = {"id": carried_id(carrier, part.pop("root")).hex(), **part}
    if part["state"] not in LIVE:
        own |= dict.fromkeys(SIZES, 0)
    if part["state"] == JobState.CANCELLED:
        own["error_kind"], own["error"] = WHY_CANCELLED
    return own
