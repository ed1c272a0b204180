"""Values of a caller: NumPy's numbers are numbers, texts can be sent, all else is named."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import Enum
from typing import Any

import numpy as np
import pytest

from zturbo import Job, Resources, Task
from zturbo.api.options import OptionSet
from zturbo.checks import check_count, check_seconds, check_text, is_number, plain_options
from zturbo.cli.printed import print_line
from zturbo.errors import UsageError


class Durability(str, Enum):
    """As a user may write it."""

    MEMORY = "memory"


@pytest.mark.parametrize("number", [2, np.int64(2), np.uint8(2), np.int16(2)])
def test_any_integer_is_a_count(number: Any) -> None:
    assert check_count("n", number, 1) == 2 and type(check_count("n", number, 1)) is int
    assert Job("x", Task(1), length=number, max_retry=number).retry == 2
    assert len(Resources({"cpu": [0, 1]}).split(number)) == 2


@pytest.mark.parametrize("number", [True, np.bool_(True), 2.0, np.float64(2), "2", None, float("nan")])
def test_nothing_else_is_a_count(number: Any) -> None:
    with pytest.raises(UsageError, match="n is to be an int of 1 or more"):
        check_count("n", number, 1)


@pytest.mark.parametrize("seconds", [1, 0.5, np.float32(0.5), np.float64(3), np.int8(1)])
def test_any_real_number_is_a_time(seconds: Any) -> None:
    check_seconds("t", seconds)
    assert is_number(seconds, 0) and not is_number(float("inf"), 0) and not is_number(np.float32("nan"), 0)


def test_options_are_plain_values() -> None:
    given = {
        "priority": np.int64(2),
        "timeout": np.float32(0.5),
        "fail_fast": np.bool_(True),
        "order": "path",
    }
    plain = plain_options({**given, "durability": Durability.MEMORY})
    assert plain == {
        "priority": 2,
        "timeout": 0.5,
        "fail_fast": True,
        "order": "path",
        "durability": "memory",
    }
    assert [type(value) for value in plain.values()] == [int, float, bool, str, str]


@pytest.mark.parametrize("value", [1 << 63, -(1 << 70), b"memory", [1], object(), 1j, "caf\udce9"])
def test_an_option_that_cannot_be_is_named(value: Any) -> None:
    with pytest.raises(UsageError, match="job option 'priority'"):
        plain_options({"priority": value})


def test_a_text_that_cannot_be_sent_is_refused_with_a_recipe() -> None:
    with pytest.raises(
        UsageError, match=r"Job.name: 'caf\\udce9' has characters .*errors='backslashreplace'"
    ):
        Job("caf\udce9", Task(1))
    assert type(check_text("name", Durability.MEMORY)) is str


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    nan = float("nan")
    odd = {"content": [nan, {1: float("inf")}, (1, nan)], "array": np.array([1.0, nan])}
    print_line({**odd, "set": {2}, "raw": b"\xff"})
    line = capsys.readouterr().out

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(line, parse_constant=refuse) == {
        "content": [None, {"1": None}, [1, None]],
        "array": [1.0, None],
        "set": [2],
        "raw": "ff",
    }


def test_nothing_in_no_parts() -> None:
    without = Resources({"cpu": [0], "gpu": []})
    assert without.select(gpu=True).split(len(without.get("gpu"))) == []
    assert Resources({"cpu": [0]}).select(gpu=True).split(0) == []
    with pytest.raises(UsageError, match="n is to be an int of 1 or more"):
        without.split(0)


def test_pyturbos_variable_is_honoured_with_one_warning() -> None:
    code = "import zturbo; print(zturbo.Options.no_progress_bar, zturbo.Options.raise_exception)"
    child = f"import subprocess, sys, zturbo; subprocess.run([sys.executable, '-c', {code!r}])"

    def run(**env: str) -> tuple[str, str]:
        command = [sys.executable, "-c", child]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip(), done.stderr

    said, warned = run(PYTURBO_OPTIONS="no_progress_bar")
    assert said == "True False" and warned.count("rename it") == 1
    said, warned = run(PYTURBO_OPTIONS="no_progress_bar", ZTURBO_OPTIONS="raise_exception")
    assert said == "False True" and not warned
    assert OptionSet.parse("no_progress_bar") == OptionSet(no_progress_bar=True)
