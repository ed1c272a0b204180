"""A real Slurm on this machine: munged, slurmctld and several slurmd, which the test starts and ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.cluster import eventually

__all__ = ["Slurm", "free_port", "need_slurm"]

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "salloc", "srun", "scancel", "squeue", "sinfo")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def need_slurm() -> None:
    """Skip, by name, where Slurm is missing, or cannot be run."""
    missing = [name for name in (*DAEMONS, *COMMANDS) if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} of Slurm (Debian packages slurm-wlm and munge): missing")
    if os.geteuid() != 0:
        pytest.skip("slurmd needs root")


def free_port() -> int:
    """A port of loopback that nobody uses."""
    return _free_ports(1)[0]


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Slurm:
    """A cluster of so many nodes, all of them on this machine, in a folder of its own."""

    def __init__(self, nodes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zt-slurm-"))
        self.folder.chmod(0o755)
        self.nodes = nodes
        self.conf = self.folder / "slurm.conf"
        self.env = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.conf)}
        self._processes: list[subprocess.Popen[bytes]] = []

    def _daemon(self, *words: str) -> None:
        log = open(self.folder / f"{Path(words[0]).name}-{len(self._processes)}.log", "wb")
        program = shutil.which(words[0], path=PATH)
        assert program is not None
        self._processes.append(
            subprocess.Popen([program, *words[1:]], env=self.env, stdout=log, stderr=subprocess.STDOUT)
        )
        log.close()

    def __enter__(self) -> Slurm:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        here, ports = self.folder, _free_ports(self.nodes + 1)
        (here / "munge.key").write_bytes(os.urandom(1024))
        (here / "munge.key").chmod(0o400)
        for name in ("state", "spool", "run"):
            (here / name).mkdir(mode=0o755)
        nodes = [
            f"NodeName=n{i} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4"
            for i, port in enumerate(ports[1:])
        ]
        self.conf.write_text(
            "\n".join(
                [
                    "ClusterName=test",
                    "SlurmctldHost=localhost(127.0.0.1)",
                    "SlurmUser=root",
                    "SlurmdUser=root",
                    "AuthType=auth/munge",
                    "CredType=cred/munge",
                    f"AuthInfo=socket={here}/run/munge.sock",
                    f"SlurmctldPort={ports[0]}",
                    f"StateSaveLocation={here}/state",
                    f"SlurmdSpoolDir={here}/spool/%n",
                    f"SlurmctldPidFile={here}/run/slurmctld.pid",
                    f"SlurmdPidFile={here}/run/%n.pid",
                    "ProctrackType=proctrack/linuxproc",
                    "TaskPlugin=task/none",
                    "SwitchType=switch/none",
                    "MpiDefault=none",
                    "SelectType=select/cons_tres",
                    "SlurmdParameters=config_overrides",
                    "ReturnToService=2",
                    "KillWait=10",
                    "SchedulerParameters=sched_interval=1,batch_sched_delay=0",
                    *nodes,
                    "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
                    "",
                ]
            )
        )
        self._daemon(
            *("munged", "--force", "--foreground", f"--socket={here}/run/munge.sock"),
            *(f"--key-file={here}/munge.key", f"--log-file={here}/munged.log"),
            *(f"--pid-file={here}/run/munged.pid", f"--seed-file={here}/munged.seed"),
        )
        eventually((here / "run/munge.sock").exists)
        self._daemon("slurmctld", "-D", "-f", str(self.conf))
        for i in range(self.nodes):
            self._daemon("slurmd", "-D", "-N", f"n{i}", "-f", str(self.conf))
        eventually(
            lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D").stdout.strip() == str(self.nodes)
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands."""
        return subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=120)

    def jobs(self) -> list[str]:
        """Ids of the jobs that have not ended."""
        return self.run("squeue", "-h", "-o", "%i").stdout.split()

    def __exit__(self, *_: object) -> None:
        if self.conf.exists():
            for job in self.jobs():
                self.run("scancel", job)
            eventually(lambda: not self.jobs())
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
