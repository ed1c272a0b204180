"""``zturbo dashboard``: a page in the browser, and metrics for Prometheus."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
from typing import Any

from zturbo.checks import is_loopback
from zturbo.cli.ask import add_broker
from zturbo.cli.printed import print_line
from zturbo.client.client import DEFAULT_BROKER, Client
from zturbo.dashboard import DEFAULT_BIND
from zturbo.errors import StartError, UsageError
from zturbo.runtime.net.localkeys import find_local, wants_local

__all__ = ["add", "run", "serve_page"]

EPILOG = """\
examples:
  zturbo dashboard
  zturbo dashboard --broker tcp://10.0.0.1:5555 --bind 127.0.0.1:8000
  ZTURBO_DASHBOARD_TOKEN=... zturbo dashboard --bind 0.0.0.0:5580

It also has /metrics for Prometheus, /health and /ready. Needs: pip install 'zturbo[dashboard]'
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "dashboard",
        help="show pipelines, workers, jobs, hosts and logs in a browser",
        description="Serves a page that shows which stage is slow, what each worker does, jobs with their "
        "failures, hosts, logs and incidents, and metrics for Prometheus. It is a process of its own, which "
        "asks the broker twice a second, however many look.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        default=os.environ.get("ZTURBO_DASHBOARD_BIND") or DEFAULT_BIND,
        help="address of the page; port 0 for any that is free; default: $ZTURBO_DASHBOARD_BIND, else "
        f"{DEFAULT_BIND}. Where other hosts "
        "reach it, or with keys, it asks for a token: $ZTURBO_DASHBOARD_TOKEN, or a new, printed one",
    )
    add_broker(parser, as_json="print the address of the page as JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    broker = args.broker or os.environ.get("ZTURBO_BROKER") or DEFAULT_BROKER
    return serve_page(broker, args.bind, keys=args.keys, as_json=args.json)


def serve_page(broker: str, bind: str, *, keys: str | None = None, as_json: bool = False) -> int:
    """Serve the page until Ctrl-C. Returns the exit code.

    Args:
        broker: the broker's address.
        bind: where to listen: HOST:PORT.
        keys: file or folder of keys; None for the default.
        as_json: print the address as JSON, on stdout.

    Raises:
        UsageError: the libraries are missing, or the address makes no sense.
        StartError: nothing can listen at the address.
    """
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"--bind or $ZTURBO_DASHBOARD_BIND {bind!r}: expected HOST:PORT, such as {DEFAULT_BIND}"
        )
    try:
        import uvicorn

        from zturbo.dashboard.app import make_app
        from zturbo.dashboard.watching import Watcher
    except ImportError as error:
        raise UsageError(f"{error}: the page needs more packages: pip install 'zturbo[dashboard]'") from None
    local = host == "localhost" or is_loopback(f"tcp://{f'[{host}]' if ':' in host else host}:1")
    token = os.environ.get("ZTURBO_DASHBOARD_TOKEN", "")
    keyed = keys or os.environ.get("ZTURBO_KEYS") or find_local(broker) or wants_local(broker, "auto")
    if (not local or keyed) and not token:  # other users of this host must not get what the key may do
        token = secrets.token_urlsafe(24)
    hosts = frozenset({"localhost", "127.0.0.1", "::1", host}) if local else None
    watcher = Watcher(broker, lambda: Client(broker, keys=keys))
    app = make_app(watcher, token=token, hosts=hosts)
    config = uvicorn.Config(app, host=host, port=int(port), log_level="warning", access_log=False)
    sock = _listen(host, int(port))  # before the address is printed, so that it can be opened at once
    real = sock.getsockname()[1]
    where = f"http://{f'[{host}]' if ':' in host else host}:{real}/pipeline"
    where += f"?token={token}" if token else ""
    if as_json:
        print_line({"page": where})
    else:
        print(f"zturbo: the page is at {where}", file=sys.stderr, flush=True)
    watcher.start()
    try:
        uvicorn.Server(config).run(sockets=[sock])
    finally:
        watcher.close()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        why = str(error.strerror or error).partition(" (while ")[0]
        text = f"the page cannot listen at {host}:{port}: {why}"
        raise StartError(f"{text}; name another HOST:PORT for it, or port 0 for any that is free") from None
