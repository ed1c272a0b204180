"""The process ``zturbo_broker``: started by ``zturbo up`` and ``zturbo broker``, told what to do on stdin."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from zturbo.runtime.net.keys import BROKER, read_keys
from zturbo.runtime.net.limits import raise_descriptor_limit
from zturbo.runtime.net.listening import Listening
from zturbo.runtime.process.childside import ChildSide
from zturbo.runtime.process.collecting import spare_survivors
from zturbo_broker.jobs.quotas import Limits
from zturbo_broker.keyring import Keyring
from zturbo_broker.ledger.ledger import Ledger
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.server import Broker

__all__ = ["main"]


def main() -> int:
    """Run the broker that the spec on stdin describes. Returns the exit status."""
    side = ChildSide.open()
    spec: dict[str, Any] = side.spec
    keys: str | None = spec.get("keys")
    raise_descriptor_limit()
    try:
        ledger = Ledger(Path(spec["state"]) / "ledger.db")
        try:
            broker = Broker(
                bind=spec["bind"],
                ledger=ledger,
                pipelines=[PipelineInfo(**table) for table in spec["pipelines"]],
                host=spec["host"],
                folder=Path(spec["folder"]),
                listening=Listening.of(spec["tcp"]) if spec.get("tcp") else None,
                lease=spec["lease"],
                feed_timeout=spec["feed_timeout"],
                security=None if keys is None else read_keys(keys, (BROKER,)),
                keyring=None if keys is None else Keyring(Path(keys), shared=bool(spec.get("shared"))),
            )
        except BaseException:
            ledger.close()
            raise
    except BaseException as error:
        return side.failed(error, "broker")

    broker.machine.known.open = bool(spec.get("open"))
    broker.machine.known.table.quotas.limits = Limits(**spec["limits"])

    def stop(number: int, frame: object) -> None:
        broker.stop()

    def state(number: int, frame: object) -> None:
        broker.dumping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, state)
    side.at_exit(broker.folder)
    spare_survivors()
    side.ready(address=broker.address)
    try:
        broker.run()
    except Exception:
        logging.getLogger("zturbo.broker").exception("the broker failed")
        return 1
    finally:
        broker.close()
        if os.getppid() != spec["parent"]:
            _clean_up(broker.folder, spec.get("temporary", []))
    return 0


def _clean_up(folder: Path, temporary: list[str]) -> None:
    """Remove the folders that the node would have removed, had it not died."""
    for path in temporary:
        shutil.rmtree(path, ignore_errors=True)
    try:
        folder.parent.rmdir()
    except OSError as error:  # another child still has a folder in it, and removes it
        logging.getLogger("zturbo.broker").debug("%s stays: %s", folder.parent, error)


if __name__ == "__main__":
    sys.exit(main())
