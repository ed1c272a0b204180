"""What a process holds and is owed, as one line of its log: ``kill -USR1 PID``."""

from __future__ import annotations

import json
import logging
from typing import Any

from zturbo.core.links.receivers import Receivers
from zturbo.core.links.senders import Senders

__all__ = ["dump", "links"]

log = logging.getLogger("zturbo.state")


def links(receivers: Receivers | None, senders: Senders | None) -> dict[str, Any]:
    """Both ends of this process's links, by the other end's incarnation.

    At rest ``sent`` equals ``acked`` here and ``received`` there, and the other end's ``left`` (tasks that
    have left its queue, so that their credit is back) equals ``tasks`` here. ``strays`` are the messages that
    were dropped since they came of nobody in the view, as a zombie's, or were meant for another.
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
        peer.hex(): {"received": link.received, "acked": link.acked, "left": link.window.left_tasks}
        for peer, link in (receivers.links if receivers else {}).items()
    }
    return {"out": out, "in": into, "strays": receivers.strays if receivers else 0}


def dump(name: str, incarnation: bytes, state: dict[str, Any]) -> None:
    """Write it to the log."""
    log.warning("state %s", json.dumps({"name": name, "incarnation": incarnation.hex(), **state}))
