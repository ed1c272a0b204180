"""The parser: help that teaches, errors that say what to type."""

from __future__ import annotations

import argparse
import errno
import subprocess
import sys
from typing import Any

import pytest

from zturbo.cli import ENVIRONMENT, EXIT_CODES, jobs, main, parser
from zturbo.cli.ask import find_job
from zturbo.client.job_ids import pick_job
from zturbo.errors import UsageError


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(action.choices)


def test_the_bare_command_says_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    for line in ("zturbo new", "zturbo up", "zturbo submit", "zturbo jobs"):
        assert line in said
    for name, text in [*EXIT_CODES.items(), *ENVIRONMENT.items()]:
        assert str(name) in said and text in said


@pytest.mark.parametrize("name", list(commands()))
def test_each_command_teaches(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = commands()[name]
    assert command.description and command.epilog
    for action in command._actions:
        assert action.help, action
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"zturbo {name}" in said and "%%" not in said
    assert max(map(len, said.split("examples:")[0].split("environment (")[0].splitlines())) <= 110


@pytest.mark.parametrize(
    "line, found",
    [
        ("replay J --pdb P", {"job": "J", "path": "P", "pdb": True}),
        ("replay --file F J P", {"job": "J", "path": "P", "file": "F"}),
        ("replay J --pdb", {"job": "J", "path": None, "pdb": True}),
        ("cancel A --json B", {"jobs": ["A", "B"], "json": True}),
        ("deploy F --keys K scale S 3", {"file": "F", "action": "scale", "words": ["S", "3"], "keys": "K"}),
        ("deploy F --json", {"file": "F", "action": "up", "words": [], "json": True}),
        ("keys add --keys K client --json ann", {"action": "add", "words": ["client", "ann"], "keys": "K"}),
        ("slurm F -N 4 -- prog -x --json", {"file": "F", "json": False, "program": ["prog", "-x", "--json"]}),
        ("submit p -- -5", {"pipeline": "p", "content": "-5"}),
        ("stack -- -5", {"what": "-5"}),
    ],
)
def test_options_may_stand_between_words(line: str, found: dict[str, object]) -> None:
    words = line.split()
    args = vars(parser(words[0]).parse_args(words))
    assert {name: args[name] for name in found} == found


def test_json_is_everywhere_where_something_is_printed() -> None:
    without = {name for name, command in commands().items() if "--json" not in command._option_string_actions}
    assert without == {"completion", "render"}  # what they print is for programs


@pytest.mark.parametrize(
    "words, said",
    [
        (["jbos"], "there is no command 'jbos'; did you mean 'zturbo jobs'?"),
        (["xyzzy"], "there is no command 'xyzzy'; there are: new, check, up"),
        (["jobs", "--jsno"], "unrecognized arguments: --jsno; did you mean '--json'?"),
        (["completion", "bash", "--json"], "unrecognized arguments: --json; other commands have it"),
        (["result", "x", "--timeout", "inf"], "--timeout: expected seconds, more than 0, found 'inf'"),
        (["up"], "the following arguments are required: FILE"),
        (["stage", "f", "p.s", "--workers", "0"], "--workers: expected a number, 1 or more, found '0'"),
        (["result", "x", "--timeout", "soon"], "--timeout: expected seconds, more than 0, found 'soon'"),
        (["submit", "p", "c", "--durability", "disk"], "--durability: invalid choice: 'disk'"),
        (["completion", "fihs"], "invalid choice: 'fihs'"),
    ],
)
def test_mistakes(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("address", ["tcp://*:5555", "tcp://\x1b[2J:1", "tcp://user@127.0.0.1:5"])
def test_an_address_that_cannot_be_connected_to(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--broker", address]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("zturbo: cannot connect to tcp://") and said.count("\n") == 1 and "\x1b" not in said
    )


@pytest.mark.parametrize(
    "error, said",
    [
        (MemoryError("buffer"), "MemoryError: buffer; 'ulimit -a' tells"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files; 'ulimit -a' tells"),
        (RuntimeError("can't start new thread"), "RuntimeError: can't start new thread; 'ulimit -a' tells"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied\n"),
    ],
)
def test_what_this_host_does_not_give_is_one_sentence(
    error: BaseException,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Any) -> None:
        raise error

    monkeypatch.setattr(jobs, "connect", refuse)
    assert main(["jobs"]) == 1
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def _job(first: str, name: str) -> dict[str, Any]:
    return {"id": first.ljust(32, "0"), "name": name}


JOBS = [_job("aa11", "one"), _job("aa22", "two"), _job("bb33", "two"), _job("cc44", "dd")]


@pytest.mark.parametrize(
    "word, index",
    [("aa11", 0), ("AA2", 1), ("b", 2), ("one", 0), ("aa22".ljust(32, "0"), 1), ("dd", 3)],
)
def test_a_job_by_its_id_a_unique_prefix_or_its_name(word: str, index: int) -> None:
    assert pick_job(JOBS, word) is JOBS[index]


@pytest.mark.parametrize(
    "word, said",
    [
        ("aa", r"'aa' may be any of 2 jobs: aa1100000000 \(one\), aa2200000000 \(two\)"),
        ("two", "may be any of 2 jobs"),
        ("", "there is no job ''"),
        ("onee", "did you mean 'one'?"),
        ("zzzzzz", "'zturbo jobs' lists them"),
    ],
)
def test_no_such_job(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pick_job(JOBS, word)
    with pytest.raises(UsageError, match="the broker has none at all"):
        find_job(_NoJobs(), word)  # type: ignore[arg-type]


class _NoJobs:
    def jobs(self) -> list[Any]:
        return []


def test_a_command_imports_only_its_own_part() -> None:
    """``up`` starts its children before it imports what shows their jobs."""
    for argv, unused in ((["check", "x.toml"], "zturbo.cli.up"), (["up", "x.toml"], "zturbo.client.client")):
        code = (
            f"import sys; from zturbo.cli import main; code = main({argv!r}); "
            f"assert {unused!r} not in sys.modules; sys.exit(code)"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ended.returncode == 2 and "x.toml" in ended.stderr, ended.stderr


def test_options_of_other_commands_are_known_where_one_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "x.toml", "--without", "p.a"])
    assert "other commands have it" in capsys.readouterr().err
