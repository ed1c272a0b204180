"""``zturbo render``: writes the files of other launchers."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from zturbo.cli.run import add_file, network_file
from zturbo.deploy.network import Network
from zturbo.errors import UsageError

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo render kubernetes video.toml --image registry/video:7 | kubectl apply -f -
  zturbo render compose video.toml --image video --keys keys > compose.yaml
  zturbo render systemd video.toml -o /etc/systemd/system && systemctl daemon-reload

The image has zturbo, the network file and the stages. The file's path in the image is --file-in-image; its
default is the path that is given here.
"""


SECRETS = """\
zturbo: the pods have their keys from the Secrets {keys}-broker and {keys}-node. If these are not there yet:
  zturbo keys init keys && zturbo keys add node pods --keys keys
  kubectl create secret generic {keys}-broker --from-file=keys/broker.key --from-file=keys/node-local.key \\
    --from-file=keys/allowed
  kubectl create secret generic {keys}-node --from-file=keys/node-pods.key"""
"""Said where keys are used. The broker's Secret has the public keys of all, for those that it lets in."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "render",
        help="write the files for Kubernetes, systemd or Compose",
        description="Writes the files with which another launcher runs a network file. Broker, sink and each "
        "stage are parts of their own. They are ready when they have joined, and drain when stopped.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "launcher", metavar="LAUNCHER", choices=sorted(RENDER), help="kubernetes, systemd or compose"
    )
    add_file(parser)
    parser.add_argument("--name", help="of the network at the launcher; default: the file's, such as video")
    parser.add_argument("--image", help="container image; needed for kubernetes and compose")
    parser.add_argument("--file-in-image", metavar="PATH", help="path of the network file in the image")
    parser.add_argument(
        "--storage",
        metavar="SIZE",
        default="10Gi",
        help="size of the claim of broker and sink (kubernetes); 10Gi",
    )
    parser.add_argument(
        "--keys",
        metavar="NAME",
        help="keys: for kubernetes the Secrets NAME-broker and NAME-node (default: those of the network's "
        "name), else a folder of this host, as 'zturbo keys init' makes it",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="without keys: whoever reaches the processes can run code there",
    )
    parser.add_argument("--user", help="user of the units (systemd)")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="write files into this folder, not to stdout"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    network = network_file(args.file)
    if args.insecure and args.keys:
        raise UsageError("--keys and --insecure: give one of them")
    name = args.name or re.sub(r"[^a-z0-9]+", "-", Path(args.file).stem.lower()).strip("-") or "zturbo"
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", name):
        raise UsageError(f"--name: expected small letters, digits and '-', 42 at most, found {name!r}")
    files: dict[str, str] = RENDER[args.launcher](network, name, args)
    for file, text in files.items():
        if args.output:
            path = Path(args.output) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(path)
        else:
            print(f"# {file}\n{text}" if len(files) > 1 else text, end="\n" if len(files) > 1 else "")
    return 0


def _systemd(network: Network, name: str, args: argparse.Namespace) -> dict[str, str]:
    from zturbo.deploy.render.systemd import render

    keys = _keys(args)
    if network.is_open and keys is None and not args.insecure:
        raise UsageError(
            f"others reach {network.broker.bind}, and the units would not start without keys: name a folder "
            "that 'zturbo keys init' makes, with --keys or 'keys' in [broker]. Or give --insecure, where you "
            "trust all of them"
        )
    return render(network, name, keys=keys, insecure=args.insecure, user=args.user)


def _compose(network: Network, name: str, args: argparse.Namespace) -> dict[str, str]:
    from zturbo.deploy.render.compose import render

    keys = _keys(args)
    if keys is None and not args.insecure:
        raise UsageError(
            "--keys is missing: the folder of keys that 'zturbo keys init' makes on the host of the "
            "containers. Or give --insecure, where you trust all of them"
        )
    made = render(network, name, image=_image(args), file=args.file_in_image or args.file, keys=keys)
    return {"compose.yaml": _yaml([made])}


def _kubernetes(network: Network, name: str, args: argparse.Namespace) -> dict[str, str]:
    from zturbo.deploy.render.kubernetes import render

    file = args.file_in_image or args.file
    keys = None if args.insecure else args.keys or name
    made = render(network, name, image=_image(args), file=file, storage=args.storage, keys=keys)
    if keys is not None:
        print(SECRETS.format(keys=keys), file=sys.stderr)
    return {f"{name}.yaml": _yaml(made)}


RENDER = {"systemd": _systemd, "compose": _compose, "kubernetes": _kubernetes}


def _keys(args: argparse.Namespace) -> str | None:
    """The folder of keys on the host; None if none is named."""
    return None if args.keys is None else os.path.abspath(args.keys)


def _image(args: argparse.Namespace) -> str:
    if not args.image:
        raise UsageError("--image is missing: the name of the container image with zturbo and your stages")
    return str(args.image)


def _yaml(documents: list[Any]) -> str:
    try:
        import yaml
    except ImportError:
        raise UsageError("PyYAML is not installed: pip install 'zturbo[render]'") from None

    class Dumper(yaml.SafeDumper):  # type: ignore[misc] # it has no types
        """Writes equal values each time, and no references to the first one."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    text: str = yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=110)
    return text
