"""Each setting of ``[broker]`` and ``[listen]`` has a flag and a variable, and they win in this order."""

from __future__ import annotations

import logging
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from zturbo.cli import ENVIRONMENT, main, parser
from zturbo.cli.run import load, load_here
from zturbo.deploy.children import broker_child, sink_child, worker_children
from zturbo.deploy.network import Network
from zturbo.deploy.settings import BROKER, LISTEN, BrokerSpec, ListenSpec, flag_of, variable_of
from zturbo.errors import NetworkFileError, UsageError

KEYS = {**BROKER, **LISTEN}
STAGE = '[[pipeline]]\nname = "p"\n[[pipeline.stage]]\nname = "s"\nclass = "m:C"\n'
VALUES: dict[str, tuple[Any, Any, Any]] = {
    "bind": ("tcp://127.0.0.1:7001", "tcp://127.0.0.1:7002", "tcp://127.0.0.1:7003"),
    "state": ("/file", "/variable", "/flag"),
    "lease": (1.5, 2.5, 3.5),
    "feed_timeout": (11.0, 12.0, 13.5),
    "spool_share": (1, 2, 3),
    "client_jobs": (1, 2, 3),
    "client_bytes": (1, 2, 3),
    "memory": (1, 2, 3),
    "keys": ("/file", "/variable", "/flag"),
    "local_keys": ("always", "auto", "never"),
    "jobs": ("shared", "own", "shared"),
    "ports": ("7001-7009", "7101-7109", "7201-7209"),
    "interface": ("a", "b", "c"),
    "connections": (16, 17, 18),
    "half_open": (16, 17, 18),
}
"""Key -> its value in the file, in the variable, in the flag."""

BROKERS = {"feed_timeout", "client_jobs", "client_bytes", "memory", "jobs", "bind"}
LACKS = {
    "up": set[str](),
    "broker": {"spool_share"},
    "sink": BROKERS,
    "stage": {"spool_share", *BROKERS},
    "slurm": {"bind"},  # each run takes an address of its own
}
"""Command -> settings that none of its processes has."""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ZTURBO_")]:
        monkeypatch.delenv(name)


def network_file(folder: Path, **values: Any) -> str:
    lines: dict[str, list[str]] = {"broker": [], "listen": []}
    for key, value in values.items():
        lines["broker" if key in BROKER else "listen"].append(f"{key} = {value!r}")
    text = "".join(f"[{name}]\n" + "\n".join(of) + "\n" for name, of in lines.items())
    path = folder / "net.toml"
    path.write_text(text + STAGE)
    return str(path)


def loaded(key: str, *words: str) -> Any:
    """The value that a command has."""
    args = parser("up").parse_args(["up", *words])
    network = load(args) if key == "bind" else load_here(args)
    return getattr(network.broker if key in BROKER else network.listen, key)


def test_the_tables_have_all_keys_and_each_default_will_do() -> None:
    assert [*BROKER] == [field.name for field in fields(BrokerSpec)]
    assert [*LISTEN] == [field.name for field in fields(ListenSpec)]
    assert {*VALUES} == {*KEYS}
    for spec in (BrokerSpec(), ListenSpec()):
        for field in fields(spec):
            value = getattr(spec, field.name)
            assert value is None or KEYS[field.name].fits(value)


@pytest.mark.parametrize("command", LACKS)
def test_each_process_has_a_flag_and_a_variable_for_each_of_its_settings(command: str) -> None:
    (commands,) = [action.choices for action in parser(command)._actions if action.choices]
    actions = commands[command]._option_string_actions
    for key in KEYS:
        if key in LACKS[command]:
            assert flag_of(key) not in actions or key == "bind"
        else:
            assert f"${variable_of(key)}" in actions[flag_of(key)].help, key


@pytest.mark.parametrize("key", KEYS)
def test_the_flag_overrides_the_variable_and_the_variable_the_file(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_file, in_variable, in_flag = VALUES[key]
    monkeypatch.setenv("ZTURBO_LOCAL_KEYS", "never")
    monkeypatch.delenv(variable_of(key), raising=False)
    file = network_file(tmp_path, **{key: in_file})
    assert loaded(key, file) == in_file
    assert flag_of(key) in ENVIRONMENT[variable_of(key)]
    monkeypatch.setenv(variable_of(key), str(in_variable))
    assert loaded(key, file) == in_variable
    assert loaded(key, file, flag_of(key), str(in_flag)) == in_flag
    monkeypatch.setenv(variable_of(key), "")
    assert loaded(key, file) == in_file


@pytest.mark.parametrize("key", sorted(KEYS.keys() - {"bind", "state", "keys", "interface"}))
def test_a_wrong_value_is_refused_with_the_expected_one(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = network_file(tmp_path)
    said = f"expected {KEYS[key].expected}, found '-1'"
    with pytest.raises(SystemExit) as ended:
        main(["up", file, f"{flag_of(key)}=-1"])
    assert ended.value.code == 2
    assert f"argument {flag_of(key)}: {said}" in capsys.readouterr().err
    monkeypatch.setenv(variable_of(key), "-1")
    with pytest.raises(UsageError) as error:
        loaded(key, file)
    assert str(error.value) == f"${variable_of(key)}: {said}"
    with pytest.raises(NetworkFileError, match=f"{key}: expected {KEYS[key].expected}, found"):
        Network.load(network_file(tmp_path, **{key: -1}))


@pytest.mark.parametrize("key", sorted(KEYS.keys() - {"ports", "interface", "local_keys"}))
def test_processes_are_told_each_setting(key: str, tmp_path: Path) -> None:
    def told(network: Network) -> list[object]:
        children = [broker_child(network), sink_child(network), *worker_children(network, "p.s")]
        return [child.spec for child in children]

    before = told(Network.load(network_file(tmp_path)))
    assert told(Network.load(network_file(tmp_path, **{key: VALUES[key][0]}))) != before


def test_slurm_hands_the_flags_to_all_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        word for key in ("client_jobs", "lease", "ports") for word in (flag_of(key), str(VALUES[key][2]))
    ]
    assert main(["slurm", network_file(tmp_path), "-N", "2", "--print", *words]) == 0
    step = capsys.readouterr().out.splitlines()[-1].split()
    for flag, value in zip(words[::2], words[1::2], strict=True):
        assert step[step.index(flag) + 1] == value


def test_each_variable_stands_with_a_flag_that_tells_of_it() -> None:
    (commands,) = [action.choices for action in parser()._actions if action.choices]
    helps = [action.help for command in commands.values() for action in command._actions if action.help]
    for name in ENVIRONMENT:
        if name.startswith("ZTURBO_"):
            assert any(f"${name}" in text for text in helps), name


@pytest.mark.parametrize(
    ("name", "line", "dest", "value", "flag"),
    [
        ("ZTURBO_NUMBER", "sink F", "number", 3, "--number=4"),
        ("ZTURBO_WORKERS", "stage F p.s", "workers", 3, "--workers=4"),
        ("ZTURBO_DASHBOARD_BIND", "dashboard", "bind", "127.0.0.1:3", "--bind=127.0.0.1:4"),
        ("ZTURBO_RENDEZVOUS", "slurm F", "rendezvous", "/3", "--rendezvous=/4"),
    ],
)
def test_settings_of_one_command_have_variables_too(
    name: str, line: str, dest: str, value: Any, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = line.split()
    monkeypatch.setenv(name, str(value))
    assert getattr(parser(words[0]).parse_args(words), dest) == value
    found = getattr(parser(words[0]).parse_args([*words, flag]), dest)
    assert str(found) == flag.partition("=")[2]


def test_a_network_logs_more_where_the_variable_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setenv("ZTURBO_VERBOSE", "1")
    args = parser("up").parse_args(["up", network_file(tmp_path)])
    load_here(args)
    assert args.verbose and root.level == logging.DEBUG
