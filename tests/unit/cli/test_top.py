"""The keys of ``zturbo top``: nothing is cancelled or run again without a yes."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo.cli.top import Keys


class Handle:
    """Of a job, as far as keys use it."""

    id = "f" * 32

    def __init__(self, done: list[str]) -> None:
        self._done = done

    def cancel(self) -> None:
        self._done.append("cancel")

    def retry_failed(self) -> Handle:
        self._done.append("retry")
        return self


class Client:
    """As far as keys use it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def attach(self, job: str) -> Handle:
        self.done.append(job)
        return Handle(self.done)


def jobs() -> list[dict[str, Any]]:
    return [
        {"id": "a" * 32, "state": "running", "failed": 0},
        {"id": "b" * 32, "state": "done", "failed": 2},
    ]


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def keys(client: Client) -> Keys:
    keys = Keys(client)  # type: ignore[arg-type]
    keys.see(jobs())
    return keys


def test_cancel_asks_first(client: Client, keys: Keys) -> None:
    keys.press("c")
    assert "cancel job aaaaaaaaaaaa?" in keys.foot()
    keys.press("n")
    assert client.done == []
    keys.press("c")
    keys.press("y")
    assert client.done == ["a" * 32, "cancel"] and "is cancelled" in keys.foot()


def test_retry_is_for_a_job_with_failed_tasks(client: Client, keys: Keys) -> None:
    keys.press("r")
    assert "no failed tasks" in keys.foot() and not client.done
    keys.press("down")
    keys.press("c")
    assert "has ended" in keys.foot()
    keys.press("r")
    keys.press("y")
    assert client.done == ["b" * 32, "retry"]


def test_a_filter_takes_keys_until_enter(keys: Keys) -> None:
    for key in "/qcx\x7f\r":
        assert keys.press(key)
    assert keys.look.words == "qc" and not keys.look.typing
    assert not keys.press("q")


def test_a_job_is_opened_and_closed(keys: Keys) -> None:
    keys.press("\r")
    assert keys.look.opened and keys.foot().startswith("Enter: all jobs")
    keys.press("down")
    assert keys.look.opened and keys.look.selected == "b" * 32
    assert keys.press("\x1b") and not keys.look.opened, "Escape closes it, and does not leave"
    keys.press("\n")
    keys.press("\n")
    assert not keys.look.opened
    keys.see([])
    keys.press("\r")
    assert not keys.look.opened, "there is no job to open"
    assert not keys.press("\x1b")


def test_the_last_line_fits_into_80_columns(keys: Keys) -> None:
    for _ in range(4):
        keys.press("s")
        assert len(keys.foot()) <= 80
    keys.press("\r")
    assert len(keys.foot()) <= 80
