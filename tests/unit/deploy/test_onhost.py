"""The far end of ``zturbo deploy`` notices that the other side has gone, though no end of stdin comes."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import pytest

from zturbo.deploy import onhost
from zturbo.deploy.onhost import Requests


def test_silence_ends_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onhost, "LOOK", 0.01)
    read, write = os.pipe()
    with open(read, "rb") as stdin, open(write, "wb", buffering=0) as other:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
        requests = Requests()
        assert not requests.gone.wait(0.1), "an older side that never says that it is alive"
        first = {"do": "", "alive": 0.05, "bytes": 3}
        other.write(json.dumps(first).encode() + b"\nabc" + b'{"do": "alive"}\n')
        assert requests.next() == (first, b"abc")
        assert requests.next() is None and requests.gone.is_set()
