"""The keys of each host of a network, from the folder of keys where ``zturbo deploy`` runs."""

from __future__ import annotations

from pathlib import Path

from zturbo.deploy.network import HostSpec, Network
from zturbo.errors import UsageError
from zturbo.runtime.net import keys

__all__ = ["LOOKER", "default_folder", "keys_of"]

LOOKER = "deploy"
"""Name of the viewer who looks at the network from the broker's host, which has all that it may read."""


def default_folder(network: Network) -> Path:
    """Where the keys of a network file lie that names none."""
    return Path(network.path).absolute().parent / ".zturbo" / f"{Path(network.path).stem}.keys"


def keys_of(folder: Path, hosts: tuple[HostSpec, ...]) -> dict[str, dict[str, str]]:
    """Host -> name of a file -> its text. Makes the keys that are missing.

    The first host gets the broker's. Each other one gets a key of a node, and no other secret.

    Args:
        folder: the broker's folder of keys.
        hosts: of the network.

    Raises:
        UsageError: it is no folder of keys, others can read it, or a private file is not there any more.
    """
    allowed = {(who.role, who.name) for who in keys.read_folder(folder)}
    names = {host.name: _name_of(host) for host in hosts[1:]}
    wanted = [("viewer", LOOKER), ("node", keys.LOCAL), *(("node", name) for name in names.values())]
    for role, name in wanted:
        path = folder / f"{role}-{name}.key"
        if (role, name) not in allowed:
            keys.add(folder, role, name)
        elif not path.exists():
            raise UsageError(
                f"{path} is not there any more: 'zturbo keys revoke {name}', and a new one is made"
            )
    first = [folder / name for name in ("broker.key", f"node-{keys.LOCAL}.key", f"viewer-{LOOKER}.key")]
    first += sorted((folder / "allowed").glob("*.pub"))
    found = {hosts[0].name: {str(path.relative_to(folder)): path.read_text() for path in first}}
    for host in hosts[1:]:
        path = folder / f"node-{names[host.name]}.key"
        found[host.name] = {path.name: path.read_text()}
    return found


def _name_of(host: HostSpec) -> str:
    """The name of a host's key: its own, unless a key that each folder has goes by that name."""
    taken = host.name in (keys.LOCAL, keys.ADMIN, LOOKER)
    return f"host-{host.name}" if taken else host.name
