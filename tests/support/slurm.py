"""A real Slurm on this machine: munged, slurmctld and several slurmd, which the test starts and ends.

They live in a network namespace of their own, which has an address that is not loopback's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.support.cluster import eventually
from tests.support.hosts import need_hosts

__all__ = ["ADDRESS", "Slurm", "need_slurm"]

ADDRESS = "10.97.0.1"

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "salloc", "srun", "scancel", "squeue", "sinfo")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def need_slurm() -> None:
    """Skip, by name, where Slurm is missing, or cannot be run."""
    missing = [name for name in (*DAEMONS, *COMMANDS) if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} of Slurm (Debian packages slurm-wlm and munge): missing")
    need_hosts()


class Slurm:
    """A cluster of so many nodes, all of them on this machine, in a folder of its own."""

    def __init__(self, nodes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zt-slurm-"))
        self.folder.chmod(0o755)
        self.nodes = nodes
        self.conf = self.folder / "slurm.conf"
        temporary = self.folder / "tmp"  # Slurm may kill a node with all of its children
        temporary.mkdir()
        self.env = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.conf), "TMPDIR": str(temporary)}
        self.env.pop("XDG_RUNTIME_DIR", None)  # so that TMPDIR says where sockets are
        self.space = f"zt-{uuid.uuid4().hex[:6]}-slurm"
        # Not "ip netns exec": that mounts another /sys, without the cgroups that slurmd looks for.
        self._inside = ["nsenter", f"--net=/run/netns/{self.space}"]
        self._processes: list[subprocess.Popen[bytes]] = []

    def _daemon(self, *words: str) -> None:
        log = open(self.folder / f"{Path(words[0]).name}-{len(self._processes)}.log", "wb")
        program = shutil.which(words[0], path=PATH)
        assert program is not None
        self._processes.append(
            subprocess.Popen(
                [*self._inside, program, *words[1:]], env=self.env, stdout=log, stderr=subprocess.STDOUT
            )
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
        here = self.folder
        self._ip("netns", "add", self.space)
        self._ip("-n", self.space, "link", "set", "lo", "up")
        self._ip("-n", self.space, "address", "add", f"{ADDRESS}/32", "dev", "lo")
        (here / "munge.key").write_bytes(os.urandom(1024))
        (here / "munge.key").chmod(0o400)
        for name in ("state", "spool", "run"):
            (here / name).mkdir(mode=0o755)
        nodes = [
            f"NodeName=n{i} NodeHostname=localhost NodeAddr=127.0.0.1 Port={17000 + i} CPUs=4"
            for i in range(self.nodes)
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
                    "SlurmctldPort=16999",
                    f"StateSaveLocation={here}/state",
                    f"SlurmdSpoolDir={here}/spool/%n",
                    f"SlurmctldPidFile={here}/run/slurmctld.pid",
                    f"SlurmdPidFile={here}/run/%n.pid",
                    "ProctrackType=proctrack/linuxproc",
                    "TaskPlugin=task/none",
                    "SwitchType=switch/none",
                    "MpiDefault=none",
                    "SelectType=select/cons_tres",
                    "SelectTypeParameters=CR_Core",
                    "SlurmdParameters=config_overrides",
                    "ReturnToService=2",
                    # The tests are to see that all ends by itself, on a slow machine too.
                    "KillWait=60",
                    "OverTimeLimit=5",
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

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command there; the caller ends it."""
        return subprocess.Popen([*self._inside, *words], env=self.env, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return subprocess.run(
            [*self._inside, *words], env=self.env, capture_output=True, text=True, timeout=120
        )

    def jobs(self) -> list[str]:
        """Ids of the jobs that have not ended."""
        return self.run("squeue", "-h", "-o", "%i").stdout.split()

    def state(self, job: str) -> str:
        """Slurm's word for what has become of a job."""
        told = self.run("scontrol", "show", "job", job).stdout
        return next(word.partition("=")[2] for word in told.split() if word.startswith("JobState="))

    def processes(self, job: str) -> list[int]:
        """Those that a job has started, in however many steps, and that have not ended."""
        mark = f"SLURM_JOB_ID={job}".encode()
        listed = subprocess.run(["ip", "netns", "pids", self.space], capture_output=True, text=True)
        return [pid for pid in map(int, listed.stdout.split()) if mark in _environment(pid)]

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
        subprocess.run(["ip", "netns", "del", self.space], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return []
