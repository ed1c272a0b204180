"""The broker's memory of what happened, and what members send to it: bounded, and checked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from zturbo.errors import DecodeError
from zturbo.runtime.members import forward
from zturbo.runtime.members.forward import Forwarder
from zturbo.wire.control import to_broker
from zturbo_broker import joblogs, logbook
from zturbo_broker.joblogs import JobLogs
from zturbo_broker.logbook import Logbook

JOB = b"j" * 16


def test_pages() -> None:
    book = Logbook()
    for n in range(logbook.PAGE + 10):
        book.add(float(n), "INFO", "p.a" if n % 2 else "p.b", JOB if n % 3 else b"", str(n))
    first = book.page(0, None, "")
    assert len(first.entries) == logbook.PAGE and first.more
    rest = book.page(first.last, None, "")
    assert [entry.text for entry in rest.entries] == [str(logbook.PAGE + n) for n in range(10)]
    assert not rest.more and book.page(rest.last, None, "").entries == ()
    assert {entry.source for entry in book.page(0, None, "p.a").entries} == {"p.a"}
    assert {entry.job for entry in book.page(0, JOB, "").entries} == {JOB}
    assert book.page(10**9, None, "").entries == first.entries  # after the broker's restart


def test_it_is_bounded() -> None:
    book = Logbook()
    for _ in range(logbook.KEPT + 7):
        book.add(0.0, "INFO", "s", b"", "x")
    assert len(book._entries) == logbook.KEPT
    for _ in range(2 * logbook.KEPT_CHARACTERS // logbook.TEXT):
        book.add(0.0, "INFO", "s" * 1000, b"", "x" * 10**5)
    held = sum(len(entry.text) + len(entry.source) for entry in book._entries)
    assert held == book._characters <= logbook.KEPT_CHARACTERS


@pytest.mark.parametrize(
    "records, dropped",
    [
        ((("INFO", b"", (), 5),), 0),
        ((("LOUD", b"", (), "x"),), 0),
        ((("INFO", b"short", (), "x"),), 0),
        ((("INFO", b"", ("x",), "x"),), 0),
        (("INFO",), 0),
        ((("INFO", b"", (), "x"),) * (to_broker.RECORDS + 1), 0),
        ((), -1),
    ],
)
def test_what_a_member_says_is_checked(records: Any, dropped: int) -> None:
    with pytest.raises(DecodeError, match=r"records|dropped"):
        to_broker.Log.from_wire({"incarnation": JOB, "source": "p.a", "records": records, "dropped": dropped})


def test_a_flood_of_records_is_counted_and_dropped() -> None:
    forwarder = Forwarder(logging.INFO, lambda: (JOB, (4, 2)))
    logger = logging.Logger("flood")
    logger.addHandler(forwarder)
    for n in range(forward.MOST + 40):
        logger.warning("record %d", n)
    logger.debug("not to be told")
    records, dropped = forwarder.take()
    assert len(records) <= forward.MOST <= to_broker.RECORDS
    assert len(records) + dropped == forward.MOST + 40
    assert records[0] == ("WARNING", JOB, (4, 2), "record 0")
    book = Logbook()
    message = to_broker.Log(incarnation=JOB, source="p.a", records=tuple(records), dropped=dropped)
    book.add_records(0.0, message)
    assert f"{dropped} more lines" in book.page(len(records), None, "").entries[-1].text


def test_text_that_is_no_unicode() -> None:
    forwarder = Forwarder(logging.INFO)
    logger = logging.Logger("odd")
    logger.addHandler(forwarder)
    logger.info("half a character: \udc80")
    ((_, job, _, text),) = forwarder.take()[0]
    assert job == b"" and text.startswith("half a character: ") and text.encode()


def test_lines_of_a_job_are_kept_in_a_file(tmp_path: Path) -> None:
    kept = JobLogs(tmp_path / "joblogs")
    book = Logbook(1000)
    message = to_broker.Log(
        incarnation=JOB, source="p.a", records=(("INFO", JOB, (1, 2), "x"), ("INFO", b"", (), "y")), dropped=3
    )
    added = book.add_records(5.0, message, "node7", 4711)
    assert [(one.job, one.path, one.host, one.pid) for one in added[:2]] == [
        (JOB, (1, 2), "node7", 4711),
        (b"", (), "node7", 4711),
    ]
    kept.add(JOB, added[:1])
    assert kept.read(JOB) == added[:1] and kept.read(b"o" * 16) == []
    later = Logbook(2000)
    new = later.add(6.0, "INFO", "p.a", JOB, "z")
    page = later.page(0, JOB, "", None, kept.read(JOB))
    assert [entry.text for entry in page.entries] == ["x", "z"] and page.last == new.number
    assert [one.text for one in later.page(added[0].number, JOB, "", None, kept.read(JOB)).entries] == ["z"]
    path = tmp_path / "joblogs" / JOB.hex()
    path.write_bytes(path.read_bytes() + b"\x93\x01")
    assert kept.read(JOB) == added[:1], "a file that was cut off gives what is whole"
    kept.clean(lambda job: job == JOB)
    assert path.exists()
    kept.drop(JOB)
    assert not path.exists() and kept.read(JOB) == []


def test_a_jobs_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblogs, "LARGEST", 2000)
    kept, book = JobLogs(tmp_path), Logbook()
    for _ in range(5):
        kept.add(JOB, [book.add(0.0, "INFO", "p.a", JOB, "x" * 300) for _ in range(10)])
    found = kept.read(JOB)
    assert found[-1].text == joblogs.FULL and len(found) < 10
    monkeypatch.setattr(joblogs, "SPARE", 1 << 62)
    kept.add(b"o" * 16, [book.add(0.0, "INFO", "p.a", b"o" * 16, "x")])
    assert kept.read(b"o" * 16) == [], "the last bytes of the disk are the ledger's"
