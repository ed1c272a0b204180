"""``zturbo check``: checks a network file and imports its stages. It starts no process."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import sys
from typing import Any

from zturbo.api.stage import ReorderStage, Stage
from zturbo.api.stage_kinds import BatchStage, FunctionStage
from zturbo.checks import did_you_mean, is_loopback
from zturbo.cli.listen import card_addresses, check_ports
from zturbo.cli.printed import fail, print_json, table
from zturbo.cli.run import add_file, check_keys, env_flag, network_file
from zturbo.cli.settings import from_environment
from zturbo.deploy.network import Network, PipelineSpec, StageSpec
from zturbo.errors import NetworkFileError, StartError, UsageError, ZturboError
from zturbo.errortext import error_text, shown, shown_text
from zturbo.hardware.allot import Allotment
from zturbo.hardware.resources import Resources
from zturbo.runtime.code.importing import build_stage, load_class
from zturbo.runtime.code.instances import check_settings
from zturbo.runtime.disk.folders import state_problem
from zturbo.runtime.net.binds import bind_problem
from zturbo.runtime.net.host import tcp_address
from zturbo.runtime.net.limits import check_children, raise_descriptor_limit
from zturbo.runtime.net.listening import parse_ports
from zturbo.runtime.net.sockets import check_bind, check_length

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo check video.toml
  zturbo check myproject.system:MySystem
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="check a network file and import its stages",
        description="Reads a network file, imports its stages, and makes each with its args, in this "
        "process. It does not call init(), and starts no process. For each mistake it names the file, the "
        "key, the expected value and the nearest right name. If there is a mistake, the exit code is 2.",
        epilog=EPILOG,
    )
    add_file(parser)
    parser.add_argument(
        "--stage",
        metavar="PIPELINE.STAGE",
        action="append",
        default=[],
        help="look at this stage alone, and not whether this host can run the rest. May be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    rows: list[dict[str, Any]] = []
    problems: list[ZturboError] = []
    bind, open_at = None, ""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer, not for prints of user code
            network = from_environment(network_file(args.file))
            bind, open_at = network.broker.bind, _open_at(network)
            for name in args.stage:
                network.find(name)
            problems += [] if args.stage else _here(network)
            for pipeline in network.pipelines:
                for spec in pipeline.stages:
                    if args.stage and f"{pipeline.name}.{spec.name}" not in args.stage:
                        continue
                    kind, mistake = _look(network.path, f"pipeline.{pipeline.name}.stage.{spec.name}", spec)
                    rows.append(_row(pipeline, spec, kind))
                    problems += [mistake] if mistake is not None else []
    except ZturboError as error:
        problems.append(error)
    if args.json:
        mistakes = [
            {"key": getattr(problem, "key", ""), "problem": getattr(problem, "problem", str(problem))}
            for problem in problems
        ]
        print_json({"file": args.file, "bind": bind, "stages": rows, "mistakes": mistakes})
        return 2 if problems else 0
    for problem in problems:
        fail(str(problem))
    if problems:
        return 2
    cells = [("STAGE", "KIND", "WORKERS", "CLASS")]
    rows = shown(rows)
    cells += [(row["stage"], row["kind"], str(row["workers"]), row["class"]) for row in rows]
    table(cells)
    file = shown_text(args.file)
    assert bind is not None
    local = is_loopback(bind) or not bind.startswith("tcp:")
    if open_at:
        print(f"\n{file} is right. Others reach {open_at}, so it needs keys: 'zturbo keys init keys' makes")
        print(
            f"them, and 'zturbo up {file} --keys keys' runs it (or, where you trust all of them, --insecure)"
        )
    else:
        print(
            f"\n{file} is right; 'zturbo up {file}' runs it{'' if local else f': other hosts reach {bind}'}"
        )
    if not local and (why := bind_problem(bind)):
        print(f"it has to run on another host: {why}")
    return 0


def _here(network: Network) -> list[ZturboError]:
    """What keeps ``zturbo up`` from running a network on this host, whatever its stages are.

    The file may be for a broker on another host. Then its keys and its cards are looked for there.
    """
    found: list[ZturboError] = []
    bind = network.broker.bind
    unfit = ""
    try:
        check_length(bind)
        if bind.startswith("ipc:"):
            check_bind(bind, insecure=env_flag("INSECURE"))
        unfit = bind_problem(bind)
        if unfit and (is_loopback(bind) or not bind.startswith("tcp:")):
            raise StartError(unfit)
    except (StartError, UsageError) as error:
        found.append(NetworkFileError(network.path, "broker.bind", str(error)))
    if not unfit:
        found += _keys_and_card(network)
    raise_descriptor_limit()  # as a node does
    try:
        check_children(2 + sum(stage.workers for p in network.pipelines for stage in p.stages))
    except StartError as error:
        found.append(NetworkFileError(network.path, "pipeline", str(error)))
    if why := state_problem(network.state):
        found.append(NetworkFileError(network.path, "broker.state", why))
    try:
        check_ports(network, parse_ports(network.listen.ports, "") if network.listen.ports else None)
    except NetworkFileError as error:
        found.append(error)
    allotment = Allotment()
    for pipeline in network.pipelines:
        for spec in pipeline.stages:
            if spec.stage is None and spec.resources:
                key = f"pipeline.{pipeline.name}.stage.{spec.name}"
                try:
                    allotment.take(f"{pipeline.name}.{spec.name}", spec.resources, spec.workers)
                except StartError as error:
                    found.append(NetworkFileError(network.path, f"{key}.resources", str(error)))
    return found


def _open_at(network: Network) -> str:
    """Where others reach a network's processes on this host although it has no keys; empty if nowhere."""
    if network.is_open:
        return network.broker.bind if network.broker.bind.startswith("tcp:") else ""
    card = network.listen.interface
    if card is None or network.keys is not None or os.environ.get("ZTURBO_ADDRESS"):
        return ""
    try:
        found = card_addresses(card)
    except UsageError:  # which is said elsewhere
        return ""
    return next((host for host in found if not is_loopback(tcp_address(host, 1))), "")


def _keys_and_card(network: Network) -> list[ZturboError]:
    found: list[ZturboError] = []
    if network.keys is not None:
        try:
            check_keys(network.keys, binds=True)
        except UsageError as error:
            found.append(NetworkFileError(network.path, "broker.keys", str(error)))
    if network.listen.interface is not None and not os.environ.get("ZTURBO_ADDRESS"):
        try:
            card_addresses(network.listen.interface)
        except UsageError as error:
            found.append(NetworkFileError(network.path, "listen.interface", str(error)))
    return found


def _row(pipeline: PipelineSpec, spec: StageSpec, kind: str) -> dict[str, Any]:
    name = f"{pipeline.name}.{spec.name}"
    return {"stage": name, "kind": kind, "workers": spec.workers, "class": spec.cls}


def _look(path: str, key: str, spec: StageSpec) -> tuple[str, NetworkFileError | None]:
    """(kind of the stage, its mistake or None)."""
    stage = spec.stage
    if stage is None:
        try:
            cls = load_class(spec.cls)
        except ZturboError as error:
            return "", NetworkFileError(path, f"{key}.class", str(error))
        if (mistake := _wrong_args(cls, spec)) is not None:
            return "", NetworkFileError(path, f"{key}.args{mistake[0]}", mistake[1])
        try:
            stage = build_stage(cls, spec.args, Resources())
        except (Exception, SystemExit) as error:  # __init__ is user code
            text = f"{spec.cls} raises, made with these: {error_text(error)}"
            return "", NetworkFileError(path, f"{key}.args", text)
    try:
        check_settings(stage)
    except UsageError as error:
        return "", NetworkFileError(path, f"{key}.class", str(error))
    return _kind(stage), None


def _wrong_args(cls: Any, spec: StageSpec) -> tuple[str, str] | None:
    """(key below ``args``, mistake), if a class does not take these arguments; else None."""
    if not inspect.isclass(cls):
        return None  # FunctionStage checks the arguments of a function
    parameters = inspect.signature(cls).parameters
    usual = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {name: p for name, p in parameters.items() if p.kind in usual}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for name in spec.args:
        if name not in named and not takes_any:
            return f".{name}", f"{spec.cls} takes no such argument; {did_you_mean(name, named)}"
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in spec.args and name != "resources":
            return f".{name}", f"is missing; {spec.cls} has no default for it"
    return None


def _kind(stage: Stage) -> str:
    if isinstance(stage, ReorderStage):
        return "ordered"
    if isinstance(stage, BatchStage):
        return f"batch of {stage.max_batch}"
    return "function" if isinstance(stage, FunctionStage) else "plain"
