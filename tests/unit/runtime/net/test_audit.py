"""Lines about those who were not let in, and about handshakes that ended early."""

from __future__ import annotations

import logging

import pytest

from zturbo.runtime.net.audit import ENDED, MANY, Audit


def test_many_refusals_are_few_lines() -> None:
    lines: list[str] = []
    audit = Audit(lines.append)
    for number in range(1000):
        audit.note("a", "10.0.0.1", now=number / 1000)
        audit.note("a", f"10.{number}.0.2", now=number / 1000)
    assert len(lines) <= 260 and audit.count == 2000
    audit.note("a", "10.0.0.1", now=100.0)
    assert lines[-1] == "refused from 10.0.0.1: a (999 more since the last line)"


def test_handshakes_that_end_early_on_this_host_are_no_refusals(caplog: pytest.LogCaptureFixture) -> None:
    """A process of ours that ended, or did not wait for a busy one, is nobody who was refused."""
    lines: list[str] = []
    audit = Audit(lines.append)
    with caplog.at_level(logging.DEBUG, "zturbo"):
        for number, address in enumerate(["127.0.0.1", "::1", "127.3.2.1", ""] * (MANY // 4 - 1)):
            audit.note_end(address, now=number / 10)
    assert (lines, audit.count, audit.ended) == ([], 0, MANY - 4)
    assert f"a connection from 127.0.0.1 {ENDED}" in caplog.text


def test_very_many_of_them_are_told_of_once_in_a_while() -> None:
    lines: list[str] = []
    audit = Audit(lines.append)
    for number in range(1000):
        audit.note_end("127.0.0.1", now=number / 50)
    assert len(lines) == 2 and audit.ended == 1000
    assert lines[0].startswith(f"{MANY} connections of this host ended during their handshakes")
    for number in range(1000):
        audit.note_end("127.0.0.1", now=100.0 + number)
    assert len(lines) == 2, "one now and then is nothing to tell of"


def test_those_from_other_hosts_are_told_of_without_a_word_of_refusal() -> None:
    lines: list[str] = []
    audit = Audit(lines.append)
    for now in (0.0, 1.0, 100.0):
        audit.note_end("10.0.0.7", now=now)
    line = f"a connection from 10.0.0.7 {ENDED}"
    assert lines == [line, f"{line} (1 more since the last line)"] and audit.count == 0
