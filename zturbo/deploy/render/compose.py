"""A Compose file: a container for each part of a network, on one host."""

from __future__ import annotations

import shlex
from typing import Any

from zturbo.deploy.network import Network
from zturbo.deploy.render.parts import KEYS, PORT, SHARED_MIB, STATE, Part, parts_of
from zturbo.runtime.net.keys import LOCAL

__all__ = ["render"]

READY = "/tmp/zturbo-ready"
NODE = f"node-{LOCAL}.key"
"""The key of all sinks and stages, which are on one host."""


def render(network: Network, name: str, *, image: str, file: str, keys: str | None) -> dict[str, Any]:
    """The file, as a value for YAML.

    Args:
        network: the network file.
        name: of the project.
        image: with zturbo, the network file and the stages.
        file: path of the network file in the image.
        keys: folder of keys on the host; None for a network without keys.
    """
    return {
        "name": name,
        "services": {part.name: _service(part, image, file, keys) for part in parts_of(network)},
        "volumes": {"state": {}},
    }


def _service(part: Part, image: str, file: str, keys: str | None) -> dict[str, Any]:
    words = ["zturbo", *part.command(file), "--ready-file", READY]
    words += [] if keys else ["--insecure"]
    if part.role != "stage":
        words += ["--state", STATE]
    command = shlex.join(words)
    if part.role == "broker":  # it listens at the container's address, which is known inside alone
        command += f" --bind tcp://$$(hostname -i):{PORT} --address $$(hostname -i)"
    else:
        command += f" --broker tcp://broker:{PORT}"
        command += " --address $$(hostname -i)" if keys else ""
    volumes = [f"state:{STATE}"] if part.role != "stage" else []
    own = "" if part.role == "broker" else f"/{NODE}"  # no other secret than a node's, and the broker all
    volumes += [f"{keys}{own}:{KEYS}{own}:ro"] if keys else []
    service: dict[str, Any] = {
        "image": image,
        "command": ["sh", "-c", f"exec {command}"],
        "init": True,
        "restart": "on-failure",
        "stop_grace_period": "30s",
        "shm_size": f"{SHARED_MIB}m",
        "healthcheck": {
            "test": ["CMD", "test", "-e", READY],
            "interval": "5s",
            "timeout": "2s",
            "retries": 3,
            "start_period": "60s",
        },
    }
    if volumes:
        service["volumes"] = volumes
    if keys:
        service["environment"] = {"ZTURBO_KEYS": f"{KEYS}{own}"}
    if part.role != "broker":
        service["depends_on"] = {"broker": {"condition": "service_healthy"}}
    return service
