"""Launchers of other packages: commands that run a network file where a user may run processes.

A package names a module in its entry points, in the group ``zturbo.launchers``. The module has
``add(commands)``, which adds a command to the parser and sets its ``run``, as the modules of this package do.
zturbo's own launchers, over ssh and for Slurm, are in that group too.
"""

from __future__ import annotations

from typing import Any

from zturbo.cli.printed import fail
from zturbo.errortext import error_text

__all__ = ["GROUP", "add_launchers"]

GROUP = "zturbo.launchers"

OWN = "zturbo.cli."


def add_launchers(commands: Any) -> None:
    """Add the commands of the launchers that are installed. One that cannot be loaded is told."""
    from importlib.metadata import entry_points  # it takes long to import, and most commands need none

    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        if point.value.startswith(OWN):
            continue
        try:
            point.load().add(commands)
        except Exception as error:  # it is code of others
            fail(f"the launcher {point.name} ({point.value}) cannot be used: {error_text(error, 300)}")
