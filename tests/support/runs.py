"""What a map over a range gives."""

from __future__ import annotations

from zturbo import Client


def run(client: Client, n: int, **options: object) -> tuple[list[object], list[BaseException]]:
    """(contents, errors) of a map over range(n)."""
    good: list[object] = []
    bad: list[BaseException] = []
    for content in client.map(range(n), pipeline="p", on_error="return", **options):  # type: ignore[arg-type]
        (bad if isinstance(content, BaseException) else good).append(content)  # type: ignore[arg-type]
    return good, bad
