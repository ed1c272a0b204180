"""A launcher of a page: runs a network file on the workers of a Dask cluster.

    zturbo dask video.toml --scheduler tcp://10.0.0.1:8786 -- track.py clip.mp4

Broker, sink and the program run here. Each of Dask's workers has a share of the file's workers beside itself.
All of it ends with the program. The command is there when an installed package has an entry point:

    [options.entry_points]
    zturbo.launchers =
        dask = examples.dask_launcher
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import Client, Worker, WorkerPlugin

from zturbo.deploy.network import Network
from zturbo.deploy.slurm import share
from zturbo.errors import StartError
from zturbo.runtime.net import keys

__all__ = ["Stages", "add", "run"]

ZTURBO = [sys.executable, "-m", "zturbo"]

Shares = dict[str, list[tuple[str, int]]]


class Stages(WorkerPlugin):  # type: ignore[misc] # Dask has no types
    """Runs stages beside a worker of Dask, from when Dask adds the plugin until it takes it away."""

    name = "zturbo"

    def __init__(self, file: str, broker: str, shares: Shares, key: str) -> None:
        self.file, self.broker, self.shares, self.key = file, broker, shares, key

    def setup(self, worker: Worker) -> None:
        """Start them. The key comes over Dask's own channel, which is TLS if the cluster has it."""
        self.folder = tempfile.TemporaryDirectory(prefix="zturbo-dask-")
        file, key = Path(self.folder.name, "network.toml"), Path(self.folder.name, "node.key")
        file.write_text(self.file)
        key.touch(0o600)
        key.write_text(self.key)
        common = ["--broker", self.broker, "--keys", str(key)]
        self.processes = [
            subprocess.Popen([*ZTURBO, "stage", str(file), stage, "--workers", str(number), *common])
            for stage, number in self.shares.get(worker.address, [])
        ]

    def teardown(self, worker: Worker) -> None:
        """Stop them: they give back the tasks that they have not begun."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        self.folder.cleanup()


def add(commands: Any) -> None:
    """Add the command to zturbo's parser."""
    parser = commands.add_parser(
        "dask",
        help="run a network file on a Dask cluster",
        description="Runs broker, sink and PROGRAM here, and the file's workers beside those of Dask.",
        usage="zturbo dask [options] FILE [-- PROGRAM [ARGUMENT ...]]",
    )
    parser.add_argument(
        "file", metavar="FILE", help="the network file; 'bind' in it is an address of this host"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of Dask; default: as Dask is configured")
    parser.takes_program = True
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code of the program."""
    network = Network.load(args.file)
    stages = [f"{p.name}.{stage.name}" for p in network.pipelines for stage in p.stages]
    with tempfile.TemporaryDirectory() as folder, Client(args.scheduler) as dask:
        own, ready = Path(folder, "keys"), Path(folder, "ready")
        keys.make_folder(own)
        key = keys.add(own, "node", "dask").read_text()
        without = [word for stage in stages for word in ("--without", stage)]
        up = [*ZTURBO, "up", args.file, "--keys", str(own), "--ready-file", str(ready), "--no-progress"]
        with subprocess.Popen([*up, *without]) as here:
            try:
                while not ready.exists():
                    if here.poll() is not None:
                        raise StartError(f"broker and sink have ended with exit code {here.returncode}")
                    time.sleep(0.1)
                places = sorted(dask.scheduler_info(n_workers=-1)["workers"])
                shares = {place: share(network, i, len(places)) for i, place in enumerate(places)}
                plugin = Stages(Path(args.file).read_text(), network.broker.bind, shares, key)
                dask.register_plugin(plugin)
                env = {"ZTURBO_BROKER": network.broker.bind, "ZTURBO_KEYS": str(own)}
                return subprocess.call([sys.executable, *args.program], env={**os.environ, **env})
            finally:
                if "zturbo" in dask.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.worker_plugins]):
                    dask.unregister_worker_plugin("zturbo")
                here.terminate()
