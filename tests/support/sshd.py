"""A real sshd on hosts that are namespaces, with keys of its own, and ``zturbo deploy`` on another host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cluster import eventually
from tests.support.hosts import Hosts, need_hosts

__all__ = ["SSHD", "Lab", "need_sshd"]

SSHD = "/usr/sbin/sshd"
HERE = "here"
"""The host on which a person runs ``zturbo deploy``; no sshd is there."""


def need_sshd() -> None:
    """Skip, by name, where sshd or namespaces cannot be had."""
    need_hosts()
    if not os.path.exists(SSHD) or shutil.which("ssh") is None:
        pytest.skip("sshd (Debian package openssh-server) is missing")


class Lab(Hosts):
    """Hosts with an sshd each, and a project on the host ``here`` from which they are deployed."""

    def __init__(self, names: str) -> None:
        super().__init__([*names, HERE])
        self.project = self.folder / "project"
        self._config = self.folder / "ssh_config"

    def __enter__(self) -> Lab:
        super().__enter__()
        try:
            self.project.mkdir()
            self._serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _serve(self) -> None:
        for name in ("host_key", "user_key"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(words, check=True)
        served = [name for name in self.names if name != HERE]
        key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text("".join(f"{self.address[name]} {key}" for name in served))
        (self.folder / "sshd_config").write_text(
            f"HostKey {self.folder}/host_key\nAuthorizedKeysFile {self.folder}/user_key.pub\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\n"
        )
        self._config.write_text(
            "".join(f"Host {name}\n  HostName {self.address[name]}\n" for name in served)
            + f"Host *\n  User root\n  IdentityFile {self.folder}/user_key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n"
        )
        for name in served:
            # Its privilege separation needs /run/sshd: in a /run of its own, so that nothing stays behind.
            own = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$0" "$@"'
            self.start(name, "sh", "-c", own, SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config"))
        eventually(lambda: self.logs().count("Server listening on 0.0.0.0") == len(served))

    def hosts_of(self, names: str, **more: str) -> str:
        """[[host]] tables; ``more`` has further lines of a host's table."""
        return "".join(
            f'[[host]]\nname = "{name}"\npython = "{sys.executable}"\nworkdir = "{self.folder}/at-{name}"\n'
            f"{more.get(name, '')}\n"
            for name in names
        )

    def configure(self, text: str) -> None:
        """Put some lines before the others of ssh's configuration."""
        self._config.write_text(text + self._config.read_text())

    def deploying(self, *words: str) -> subprocess.Popen[bytes]:
        """``zturbo deploy`` with the project's file, going on."""
        env = {**os.environ, "ZTURBO_SSH": f"ssh -F {self._config}"}
        return self.run(
            HERE,
            "zturbo",
            "deploy",
            "net.toml",
            *words,
            cwd=self.project,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def deploy(self, *words: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of ``zturbo deploy`` with the project's file."""
        process = self.deploying(*words)
        out, err = process.communicate(timeout=120)
        return process.returncode, out.decode(), err.decode()

    def pids(self, host: str) -> set[int]:
        """Processes of zturbo on a host."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.namespaces[host]], capture_output=True, text=True, check=True
        )
        found = set()
        for pid in map(int, listed.stdout.split()):
            try:
                if b"zturbo" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(pid)
            except OSError:  # it has ended
                continue
        return found
