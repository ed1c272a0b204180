"""``zturbo deploy``: runs a network file on the hosts that it names, over ssh."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from zturbo.checks import is_loopback
from zturbo.cli.ask import counted, seconds
from zturbo.cli.fromsystem import is_system_name
from zturbo.cli.printed import fail, one_line, print_json, table
from zturbo.cli.run import OPEN
from zturbo.deploy.bundle import bundle
from zturbo.deploy.hostkeys import default_folder, keys_of
from zturbo.deploy.network import HostSpec, Network
from zturbo.deploy.rollout import HostsFailed, Rollout
from zturbo.deploy.ssh import Session
from zturbo.deploy.units import (
    Plan,
    Running,
    Unit,
    bind_of,
    parse_running,
    reached_at,
    restarted,
    scaled,
    shares,
    units_of,
    upped,
)
from zturbo.errors import UsageError
from zturbo.errortext import clip, shown_text
from zturbo.runtime.net.keys import make_folder

__all__ = ["add", "run"]

WORDS = {"up": 0, "status": 0, "restart": 1, "scale": 2, "logs": 0, "down": 0}
"""Action -> how many words it takes."""

LINES = 20

DESCRIPTION = """\
Runs a network file on the hosts of its [[host]] tables, over the ssh of this host: its configuration, jump
hosts and agents are used. Each host needs a Python with the same zturbo. The first host has broker and sink.

  up                start what does not run yet, on all hosts or on none
  status            what runs on each host
  restart STAGE     start its workers anew with the code that is here; the old ones stop after that
  scale STAGE N     give it N workers on all hosts together
  logs              the last lines of each command that runs
  down              stop everything; jobs that are not done go on after the next up
"""

EPILOG = """\
examples:
  zturbo deploy video.toml
  zturbo deploy video.toml restart video.detect
  zturbo deploy video.toml scale video.detect 8
  ZTURBO_SSH="ssh -F cluster.conf" zturbo deploy video.toml status --json
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "deploy",
        help="run a network file on the hosts that it names, over ssh",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="the network file (TOML), with [[host]] tables")
    parser.add_argument(
        "action", metavar="ACTION", nargs="?", default="up", choices=list(WORDS), help=", ".join(WORDS)
    )
    parser.add_argument("words", metavar="WORD", nargs="*", help="'restart STAGE', 'scale STAGE N'")
    parser.add_argument(
        "--ssh",
        metavar="COMMAND",
        default=os.environ.get("ZTURBO_SSH") or "ssh",
        help="ssh with options, such as 'ssh -F cluster.conf'; default: $ZTURBO_SSH, else ssh",
    )
    parser.add_argument(
        "--keys",
        metavar="FOLDER",
        help="the broker's folder of keys; default: $ZTURBO_KEYS, else 'keys' in the file, else "
        ".zturbo/FILE.keys beside the file, which is made",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="without keys: for a network where you trust everybody"
    )
    parser.add_argument(
        "--include",
        metavar="PATH",
        action="append",
        default=[],
        help="copy this file or folder too, with the stages' packages. May be repeated",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=120.0,
        metavar="SECONDS",
        help="time that processes have to join; default: 120",
    )
    parser.add_argument(
        "--lines", type=counted, default=LINES, metavar="N", help=f"of 'logs', for each command ({LINES})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if len(args.words) != WORDS[args.action]:
        raise UsageError(
            f"zturbo deploy FILE {args.action}: see the words that it takes in 'zturbo deploy --help'"
        )
    if is_system_name(args.file):
        raise UsageError("zturbo deploy takes a network file: a System runs on one host")
    network = Network.load(args.file)
    if not network.hosts:
        raise UsageError(f"{args.file} has no [[host]] tables: name the hosts there, the broker's first")
    try:
        return ACTIONS[args.action](args, network)
    except HostsFailed as failed:
        _told_failures(failed.why)
        fail("what this command had started is stopped again, and the rest goes on as before")
        return 1
    except KeyboardInterrupt:
        fail("interrupted: what this command had started is stopped again, and the rest goes on as before")
        return 130


def _rollout(args: argparse.Namespace, network: Network) -> Rollout:
    ssh = shlex.split(args.ssh)
    if not ssh:
        raise UsageError("--ssh: expected a command")
    name = Path(network.path).stem

    def session(host: HostSpec) -> Session:
        workdir = host.workdir or f"~/.zturbo/deploy/{name}/{host.name}"
        return Session(host, ssh, workdir, _teller(host.name))

    return Rollout([session(host) for host in network.hosts])


def _teller(host: str) -> Callable[[str], None]:
    def tell(text: str) -> None:
        print(f"{host}: {one_line(shown_text(text))}", file=sys.stderr, flush=True)

    return tell


def _told_failures(why: Mapping[str, str]) -> None:
    for host, text in why.items():
        fail(f"{host}: {text}")


# -- up, restart, scale ---------------------------------------------------------------------------
class _Change:
    """Brings a version of the code and new units to hosts, and stops what they replace.

    Args:
        args: of the command.
        network: its file.
    """

    def __init__(self, args: argparse.Namespace, network: Network) -> None:
        self._args = args
        self._network = network
        self._file = Path(network.path).name
        self.broker = reached_at(network)
        """The broker's address, as clients name it."""
        self.shares = shares(network)
        self.keys = self._key_folder()
        self._keys = {} if self.keys is None else keys_of(self.keys, network.hosts)
        self.version, self._code = bundle(network, Path.cwd(), args.include)
        self._hosts = {host.name: host for host in network.hosts}
        self.units = {
            name: units_of(network, host, keys=self.keys is not None, insecure=args.insecure)
            for name, host in self._hosts.items()
        }

    def _key_folder(self) -> Path | None:
        """The folder of keys, made if there is none; None if the network has no keys."""
        named = self._args.keys or os.environ.get("ZTURBO_KEYS") or self._network.keys
        if self._args.insecure:
            if self._network.broker.keys:
                raise UsageError(
                    f"{self._file} names keys: take 'keys' out of [broker], or leave --insecure out"
                )
            print(OPEN, file=sys.stderr)
            return None
        if named:
            return Path(named).absolute()
        if not self.broker.startswith("tcp:") or is_loopback(self.broker):
            return None
        folder = default_folder(self._network)
        if not (folder / "broker.key").exists():
            make_folder(folder)
            print(f"made keys in {shown_text(str(folder))}", file=sys.stderr)
        return folder

    def run(self, rollout: Rollout, plan: Callable[[str, list[Running]], Plan]) -> dict[str, Plan]:
        """Change all hosts.

        Args:
            rollout: the sessions.
            plan: makes a plan of a host and what runs there.

        Returns:
            Host -> what was done there.
        """
        running, why = rollout.tried(_open_and_hold)
        if why:
            raise HostsFailed(why)
        plans = {name: plan(name, found) for name, found in running.items()}
        for name, one in plans.items():
            for text in one.told:
                _teller(name)(text)
        first = self._network.hosts[0].name
        rollout.each(self._bring)
        for name in ("broker", "sink"):
            units = [unit for unit in plans[first].start if unit.name == name]
            if units:
                rollout.each(partial(self._start, units, self.version), [first])
        stages = {name: [unit for unit in one.start if unit.workers] for name, one in plans.items()}
        rollout.each(
            lambda session: self._start(
                stages[session.host.name], plans[session.host.name].version or self.version, session
            ),
            [name for name, units in stages.items() if units],
        )
        rollout.each(lambda s: s.ask("keep", stop=plans[s.host.name].stop, version=self.version))
        return plans

    def _bring(self, session: Session) -> None:
        if not session.ask("has", version=self.version):
            session.ask("unpack", self._code, version=self.version)
        session.ask("keys", keys=self._keys.get(session.host.name, {}))

    def _start(self, units: Sequence[Unit], version: str, session: Session) -> None:
        where = {**self._where(session.host), "version": version}
        session.ask("start", units=[asdict(unit) for unit in units], **where)

    def _where(self, host: HostSpec) -> dict[str, Any]:
        return {
            "version": self.version,
            "file": self._file,
            "env": dict(host.env),
            "address": host.address,
            "timeout": self._args.timeout,
        }

    def doctor(self, rollout: Rollout) -> dict[str, Any]:
        """What ``zturbo doctor`` finds on the broker's host."""
        first = self._network.hosts[0]
        keys = [] if self.keys is None else ["--keys", "@keys"]
        words = ["doctor", "@file", "--json", "--broker", bind_of(self._network), *keys]
        done = rollout.each(
            lambda session: session.ask("zturbo", words=words, **self._where(first)), [first.name]
        )[first.name]
        try:
            found = json.loads(done["out"])
            checks = [
                {
                    "check": str(c["check"]),
                    "good": bool(c["good"]),
                    "text": str(c["text"]),
                    "advice": str(c["advice"]),
                }
                for c in found["checks"]
            ]
        except (ValueError, TypeError, KeyError):
            text = f"'zturbo doctor' gives no answer there: {clip(str(done))}"
            checks = [{"check": "doctor", "good": False, "text": text, "advice": "see there"}]
        return {"host": first.name, "checks": checks}


def _up(args: argparse.Namespace, network: Network) -> int:
    change = _Change(args, network)

    def plan(host: str, running: list[Running]) -> Plan:
        return upped(change.units[host], change.shares[host], running, change.version)

    return _change(args, network, change, plan)


def _restart(args: argparse.Namespace, network: Network) -> int:
    (stage,) = args.words
    pipeline, _ = network.find(stage)
    change = _Change(args, network)

    def plan(host: str, running: list[Running]) -> Plan:
        return restarted(change.units[host][stage], running, change.version, pipeline.code)

    return _change(args, network, change, plan)


def _scale(args: argparse.Namespace, network: Network) -> int:
    stage, text = args.words
    network.find(stage)
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise UsageError(f"zturbo deploy FILE scale {stage}: expected a number of workers, found {text!r}")
    change = _Change(args, network)
    dealt = any(host.stages or host.workers for host in network.hosts)
    hosts = [host.name for host in network.hosts if not dealt or change.shares[host.name].get(stage)]
    hosts = hosts[1:] + hosts[:1] if len(hosts) == len(network.hosts) else hosts
    wanted = {host: int(text) // len(hosts) + (i < int(text) % len(hosts)) for i, host in enumerate(hosts)}

    def plan(host: str, running: list[Running]) -> Plan:
        return scaled(change.units[host][stage], running, wanted.get(host, 0))

    return _change(args, network, change, plan)


def _change(
    args: argparse.Namespace,
    network: Network,
    change: _Change,
    plan: Callable[[str, list[Running]], Plan],
) -> int:
    with _rollout(args, network) as rollout:
        plans = change.run(rollout, plan)
        if args.action == "restart" and not any(one.start for one in plans.values()):
            raise UsageError(f"no worker of {args.words[0]} runs: 'zturbo deploy {args.file}' starts them")
        view = change.doctor(rollout)
    started = {host: {unit.name: unit.workers for unit in one.start} for host, one in plans.items()}
    if args.json:
        told = {"broker": change.broker, "version": change.version, "started": started, "doctor": view}
        print_json({**told, "keys": None if change.keys is None else str(change.keys)})
        return 0
    number = sum(map(len, started.values()))
    print(
        f"{number} commands were started, with the code {change.version}"
        if number
        else "all of it runs already"
    )
    for check in view["checks"]:
        if not check["good"]:
            print(one_line(shown_text(f"FAULT  {check['check']}: {check['text']}; {check['advice']}")))
    keys = "" if change.keys is None else f" --keys {shlex.quote(os.path.relpath(change.keys))}"
    good = sum(check["good"] for check in view["checks"])
    print(f"doctor on {view['host']}: {good} of {len(view['checks'])} looks are good")
    print(f"'zturbo jobs --broker {change.broker}{keys}' shows what it does")
    return 0


# -- status, logs, down ---------------------------------------------------------------------------
def _status(args: argparse.Namespace, network: Network) -> int:
    def look(session: Session) -> list[Running]:
        session.open()
        return parse_running(session.ask("status"))

    with _rollout(args, network) as rollout:
        found, why = rollout.tried(look)
    wanted = shares(network)
    missing = False
    rows = [("HOST", "UNIT", "WORKERS", "CODE", "STATE")]
    for host in network.hosts:
        running = found.get(host.name, [])
        rows += [(host.name, one.unit, str(one.workers or ""), one.version, one.state) for one in running]
        own = [*wanted[host.name], *(("broker", "sink") if host is network.hosts[0] else ())]
        joined = {one.unit for one in running if one.state == "joined"}
        for name in own:
            missing = missing or name not in joined
            if host.name in found and all(one.unit != name for one in running):
                rows.append((host.name, name, "", "", "stopped"))
    if args.json:
        hosts = {host.name: [asdict(one) for one in found.get(host.name, [])] for host in network.hosts}
        print_json({"hosts": hosts, "failed": why})
    else:
        table([tuple(shown_text(cell) for cell in row) for row in rows])
    _told_failures(why)
    return 1 if why or missing else 0


def _logs(args: argparse.Namespace, network: Network) -> int:
    def look(session: Session) -> dict[str, str]:
        session.open()
        found = session.ask("logs", lines=args.lines)
        return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}

    with _rollout(args, network) as rollout:
        found, why = rollout.tried(look)
    if args.json:
        print_json({"hosts": found, "failed": why})
    else:
        for host in network.hosts:
            for name, text in found.get(host.name, {}).items():
                for line in text.splitlines():
                    print(f"{host.name} {shown_text(name)}: {one_line(shown_text(line))}")
    _told_failures(why)
    return 1 if why else 0


def _down(args: argparse.Namespace, network: Network) -> int:
    stopped: dict[str, list[str]] = {}
    why: dict[str, str] = {}
    with _rollout(args, network) as rollout:
        running, failed = rollout.tried(_open_and_hold)
        why.update(failed)
        for last in (False, True):  # the broker is the last, so that it hears of the ends of the others
            ids = {
                host: [one.id for one in units if (one.unit == "broker") is last]
                for host, units in running.items()
            }
            hosts = [host for host, names in ids.items() if names and host not in why]
            _, failed = rollout.tried(partial(_stop, ids), hosts)
            why.update(failed)
            for host in hosts:
                stopped.setdefault(host, []).extend(ids[host])
    if args.json:
        print_json({"stopped": stopped, "failed": why})
    else:
        print(f"{sum(map(len, stopped.values()))} commands were stopped")
    _told_failures(why)
    return 1 if why else 0


def _stop(ids: Mapping[str, list[str]], session: Session) -> None:
    session.ask("keep", stop=ids[session.host.name], version="")


def _open_and_hold(session: Session) -> list[Running]:
    session.open()
    return parse_running(session.ask("hold"))


ACTIONS = {"up": _up, "status": _status, "restart": _restart, "scale": _scale, "logs": _logs, "down": _down}
