"""The state of a process as one line of its log: ``kill -USR1 PID`` makes the process write it.

The line is JSON. It has what the process holds and is owed, link by link, and what it has dropped.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from zturbo.core.links.receivers import Receivers
from zturbo.core.links.senders import Senders
from zturbo.runtime.net.endless import Arrivals, resident
from zturbo.runtime.net.guard import Guard
from zturbo.runtime.net.peers import Peers

__all__ = ["dropped", "dump", "links"]

log = logging.getLogger("zturbo.state")


def links(receivers: Receivers | None, senders: Senders | None) -> dict[str, Any]:
    """Both ends of this process's links, by the incarnation at the other end.

    At rest, ``sent`` equals ``acked`` here and ``received`` at the other end. ``tasks`` here equals ``left``
    at the other end: the tasks that have left the receiver's queue, so that the sender has their credit back.

    * ``resent``: batches that were lost on the way and sent again.
    * ``duplicates``, ``gaps``: batches that came twice, or before an earlier one, and were dropped.
    * ``redelivered``: tasks that went to another process because their receiver was lost.
    * ``returned``: tasks that a receiver gave back because it had not started them.
    * ``strays``: messages for another incarnation, or from a process outside the view, such as a zombie.
    """
    out = {
        peer.hex(): {
            "sent": link.sent,
            "resent": link.resent,
            "acked": link.acked,
            "tasks": link.tasks_sent,
            "credit": link.credit,
        }
        for peer, link in (senders.links if senders else {}).items()
    }
    into = {
        peer.hex(): {
            "received": link.received,
            "acked": link.acked,
            "left": link.window.left_tasks,
            "duplicates": link.duplicates,
            "gaps": link.gaps,
        }
        for peer, link in (receivers.links if receivers else {}).items()
    }
    return {
        "out": out,
        "in": into,
        "redelivered": senders.redelivered if senders else 0,
        "returned": senders.returned if senders else 0,
        "strays": receivers.strays if receivers else 0,
    }


def dropped(bad: int, guard: Guard, peers: Peers, arrivals: Arrivals) -> dict[str, int]:
    """How much this process has dropped at its sockets.

    * ``bad``: messages that are not in zturbo's format.
    * ``failed``: messages whose handler raised.
    * ``unsent``: messages for a process outside the view, or without a way to it.
    * ``cut``: connections that brought a message without an end, and were shut down.
    """
    return {"bad": bad, "failed": guard.caught, "unsent": peers.dropped, "cut": arrivals.cut}


def dump(name: str, incarnation: bytes, state: dict[str, Any]) -> None:
    """Write the state to the log, with ``resident``, the bytes of memory that this process has."""
    who = {"name": name, "incarnation": incarnation.hex(), "resident": resident()}
    log.warning("state %s", json.dumps({**who, **state}))
