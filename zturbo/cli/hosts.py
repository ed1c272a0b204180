"""``zturbo hosts``: lists the hosts and the processes that the broker knows."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from zturbo.cli.ask import add_broker, connect
from zturbo.cli.printed import one_line, paint, print_json, table
from zturbo.errortext import shown

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo hosts
  zturbo hosts --json
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "hosts",
        help="list hosts and their processes",
        description="Lists the hosts on which the broker knows processes as living, the broker's own first: "
        "the address at which others reach it, its CPU (100 % is one core) and memory, how long ago the "
        "broker heard of it, and its processes by stage, with their process ids. An idle process tells its "
        "CPU and memory twice a minute. If workers of a stage have different code, each one's is shown. GPUs "
        "are shown with their load and memory, by all programs, as NVML tells (extra 'gpu' on their host). "
        "--json has all of it for each process.",
        epilog=EPILOG,
    )
    add_broker(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with connect(args) as client:
        hosts = client.hosts()
    if args.json:
        print_json(hosts)
    else:
        _show(shown(hosts))
    return 0


def _show(hosts: list[dict[str, Any]]) -> None:
    rows = [("HOST", "ADDRESS", "PROCESSES", "CPU", "MEMORY", "HEARD", "VERSIONS")]
    for host in hosts:
        processes = host["processes"]
        rows.append(
            (
                host["host"],
                host["address"] or "this host alone",
                str(len(processes)),
                f"{host['cpu']} %",
                _bytes(host["memory"]),
                f"{host['heard']:.1f} s ago",
                _versions(processes),
            )
        )
    table(rows)
    mixed = _mixed(hosts)
    for host in hosts:
        print(f"\n{paint(one_line(host['host']), '1')}")
        by_name: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for process in host["processes"]:
            code = f" with code {process['code']}" if process["name"] in mixed else ""
            by_name.setdefault((process["name"], code), []).append(process)
        cells = [
            (f"  {name} x{len(some)}", "processes " + ", ".join(str(one["pid"]) for one in some) + code)
            for (name, code), some in by_name.items()
        ]
        table(cells, head=False)
        for gpu in host["gpus"]:
            load = "" if gpu["load"] is None else f" {gpu['load']} %,"
            memory = f" {_bytes(gpu['used'])} of {_bytes(gpu['total'])}" if gpu["total"] else ""
            print(f"  GPU {gpu['index']} ({one_line(gpu['name'])}):{load}{memory}".rstrip(",:"))


def _mixed(hosts: list[dict[str, Any]]) -> set[str]:
    """Stages whose workers have different code, on one host or on several."""
    codes: dict[str, set[str]] = {}
    for host in hosts:
        for process in host["processes"]:
            if process["code"]:
                codes.setdefault(process["name"], set()).add(process["code"])
    return {name for name, some in codes.items() if len(some) > 1}


def _versions(processes: Iterable[dict[str, Any]]) -> str:
    """The versions of zturbo and Python; more than one of either is what an operator looks for."""
    ours = sorted({one["version"] for one in processes} - {""})
    pythons = sorted({one["python"] for one in processes} - {""})
    return f"zturbo {', '.join(ours) or '?'}, Python {', '.join(pythons) or '?'}"


def _bytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"
