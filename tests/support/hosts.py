"""Hosts that are network namespaces on one bridge, made and removed by the test that uses them."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import children, eventually

__all__ = ["Hosts", "need_hosts"]


_NEWNET = 0x40000000


def need_hosts() -> None:
    """Skip, by name, where namespaces cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("the command 'ip' (Debian package iproute2) is missing")
    probe = f"zt-probe-{os.getpid()}"  # another run may look at the same moment
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    if made.returncode:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """Some hosts, with addresses 10.99.0.1, 10.99.0.2, ... on a network of their own.

    The bridge is in a namespace too, so that nothing touches the machine's own network.
    """

    def __init__(self, names: list[str]) -> None:
        mark = uuid.uuid4().hex[:6]
        self.names = names
        self.namespaces = {name: f"zt-{mark}-{name}" for name in [*names, "net"]}
        self._mac: dict[str, str] = {}
        self.address = {name: f"10.99.0.{i}" for i, name in enumerate(names, 1)}
        self.folder = Path(tempfile.mkdtemp(prefix="zt-hosts-"))
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Hosts:
        try:
            for space in self.namespaces.values():
                _ip("netns", "add", space)
            net = self.namespaces["net"]
            _ip("-n", net, "link", "add", "br0", "type", "bridge")
            _ip("-n", net, "link", "set", "br0", "up")
            for name in self.names:
                space = self.namespaces[name]
                _ip(
                    "-n",
                    net,
                    "link",
                    "add",
                    f"v{name}",
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "eth0",
                    "netns",
                    space,
                )
                _ip("-n", net, "link", "set", f"v{name}", "master", "br0", "up")
                _ip("-n", space, "link", "set", "lo", "up")
                _ip("-n", space, "addr", "add", f"{self.address[name]}/24", "dev", "eth0")
                _ip("-n", space, "link", "set", "eth0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for space in self.namespaces.values():
            # What 'zturbo deploy' has started there, of a test that failed.
            listed = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True)
            for pid in {*map(int, listed.stdout.split())} - {os.getpid()}:  # which may be on a host itself
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, host: str, *words: str, own_files: bool = False, **options: Any) -> subprocess.Popen[bytes]:
        """A process on a host: ``python -m`` and these words.

        Args:
            host: its name, which the process's host has too.
            words: the module and its arguments.
            own_files: give it a folder for temporary files that has the same path as all others', and is
                another folder, as in a container.
            options: of ``Popen``.
        """
        return self.start(host, sys.executable, "-m", *words, own_files=own_files, **options)

    def start(
        self, host: str, *command: str, own_files: bool = False, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Any other program on a host, as :meth:`run` starts one."""
        tmp = self.folder / "tmp"
        tmp.mkdir(exist_ok=True)
        script = 'echo "$0" >/proc/sys/kernel/hostname'
        if own_files:  # 'ip netns exec' has given it a mount namespace
            script += f" && mount -t tmpfs tmpfs {tmp}"
        words = ["ip", "netns", "exec", self.namespaces[host], "unshare", "--uts"]
        words += ["sh", "-c", f'{script} && exec "$@"', host, *command]
        options["env"] = {**options.get("env", os.environ), "TMPDIR": str(tmp)}
        log = open(self.folder / f"{len(self.processes)}-{host}.log", "wb")
        process = subprocess.Popen(words, **{"stdout": log, "stderr": log, **options})
        log.close()
        self.processes.append(process)
        return process

    def logs(self) -> str:
        """What the processes have said."""
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def states(self) -> list[dict[str, Any]]:
        """What every process holds and is owed: each writes it to its log when told to."""
        pids = [pid for process in self.processes if process.poll() is None for pid in children(process.pid)]
        before = len(self._states())
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
        eventually(lambda: len(self._states()) == before + len(pids))
        latest = {state["incarnation"]: state for state in self._states()}
        return list(latest.values())

    def _states(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in re.findall(r"state (\{.*\})", self.logs())]

    def unplug(self, host: str) -> None:
        """Cut a host off, without notice to anybody."""
        _ip("-n", self.namespaces["net"], "link", "set", f"v{host}", "nomaster")

    def plug(self, host: str) -> None:
        """Connect it again."""
        _ip("-n", self.namespaces["net"], "link", "set", f"v{host}", "master", "br0")

    def break_link(self, one: str, other: str) -> None:
        """These two do not reach each other any more; everybody else does."""
        for here, there in ((one, other), (other, one)):
            _ip(
                *("-n", self.namespaces[here], "neigh", "replace", self.address[there]),
                *("lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent"),
            )

    def mend_link(self, one: str, other: str) -> None:
        """They do again."""
        for here, there in ((one, other), (other, one)):
            _ip("-n", self.namespaces[here], "neigh", "del", self.address[there], "dev", "eth0")

    def ip(self, host: str, *words: str) -> None:
        """The command ``ip`` on a host."""
        _ip("-n", self.namespaces[host], *words)

    def shape(self, host: str, how: str, *words: str) -> None:
        """The command ``tc qdisc add`` or ``del`` for what a host sends."""
        command = ["tc", "-n", self.namespaces[host], "qdisc", how, "dev", "eth0", "root", *words]
        subprocess.run(command, check=True, capture_output=True)

    def enter(self, host: str) -> None:
        """The thread that calls, and each that it starts, is on this host from here on."""
        space = os.open(f"/run/netns/{self.namespaces[host]}", os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.setns(space, _NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(space)

    def close_ports(self, host: str) -> None:
        """A firewall: what other hosts say to the ports at which this one listens now gets no answer."""
        listed = ["ip", "netns", "exec", self.namespaces[host], "ss", "-Htln"]
        found = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
        here = self.address[host]
        ports = re.findall(rf"{re.escape(here)}:(\d+)", found)
        assert ports, f"nothing listens at {here}: {found}"
        for port in ports:
            self.ip(host, "rule", "add", "from", here, "ipproto", "tcp", "sport", port, "blackhole")
