"""Units of systemd for the parts of a network on one host."""

from __future__ import annotations

import os
import shlex
import sys

from zturbo.deploy.network import Network
from zturbo.deploy.render.parts import Part, parts_of
from zturbo.exitcodes import UNFIT_CODE

__all__ = ["render"]


def render(
    network: Network, name: str, *, keys: str | None, insecure: bool, user: str | None
) -> dict[str, str]:
    """File name -> text of the units: one for each part, and a target for all.

    Args:
        network: the network file.
        name: of the target, and the beginning of all units' names.
        keys: file or folder of keys on the host; None for those of the file.
        insecure: whether there are none, although others reach the network.
        user: user whose processes they are; None for the one of the service manager.
    """
    file = os.path.abspath(network.path)
    parts = parts_of(network)
    given = ["--insecure"] if insecure else [] if keys is None else ["--keys", keys]
    units = {
        f"{name}-{part.name}.service": _service(network, part, name, file, given, user) for part in parts
    }
    wants = " ".join(units)
    target = f"""\
[Unit]
Description=zturbo network {name}
Wants={wants}

[Install]
WantedBy=multi-user.target
"""
    return {f"{name}.target": target, **units}


def _service(network: Network, part: Part, name: str, file: str, keys: list[str], user: str | None) -> str:
    command = [
        sys.executable,
        "-m",
        "zturbo",
        *part.command(file),
        *keys,
    ]
    state = str(network.state)
    after = "" if part.role == "broker" else f"After={name}-broker.service\n"
    who = "" if user is None else f"User={user}\n"
    writes = "" if part.role == "stage" else f"ReadWritePaths=-{_escape(os.path.dirname(state))}\n"
    return f"""\
[Unit]
Description=zturbo {name}: {part.name}
PartOf={name}.target
{after}
[Service]
Type=notify
ExecStart={_escape(shlex.join(command))}
WorkingDirectory={_escape(os.path.dirname(file))}
{who}Restart=on-failure
RestartSec=2
# The broker refuses the processes for good. Correct what the log says, then: systemctl start this unit.
RestartPreventExitStatus={UNFIT_CODE}
KillMode=mixed
TimeoutStartSec=infinity
TimeoutStopSec=30
LimitNOFILE=65536
# All parts share a folder for their ipc sockets. With a /tmp of its own each, they would use TCP.
RuntimeDirectory={name}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
Environment=XDG_RUNTIME_DIR=%t/{name}
NoNewPrivileges=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
{writes}
[Install]
WantedBy={name}.target
"""


def _escape(text: str) -> str:
    """A value in which systemd replaces nothing."""
    return text.replace("%", "%%").replace("$", "$$")
