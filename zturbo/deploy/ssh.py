"""A session on a host, over the system's ``ssh``: its configuration, jump hosts and agents are used."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from zturbo.deploy.network import HostSpec
from zturbo.deploy.onhost import LONGEST
from zturbo.errors import StartError, UsageError
from zturbo.errortext import clip
from zturbo.version import __version__

__all__ = ["Session"]

CONNECT = 10
"""Seconds that a host has to answer ssh."""

END = 45.0
"""Seconds that the far end has to stop what it began."""

ALIVE = 5.0
"""Seconds between two signs of life for the far end, which no end of a broken connection reaches."""

MOST_LINES = 10_000
"""Lines that a host may send beside its answers: greetings of its shell, and what it tells."""

LONGEST_ERROR = 16 << 10
"""Bytes of what ssh says, and characters of a host's error."""

NO_KEY = ("Load key ", "Warning: Identity file ", "no such identity: ")
"""How a line of ssh begins that names a key which it cannot use."""

START = """\
import json, sys
def end(text):
    print(json.dumps({"error": text}))
    sys.exit(0)
sys.path[:] = [part for part in sys.path if part]
if sys.version_info < (3, 10):
    end("%s is Python %s, and zturbo needs 3.10 or newer: name another Python with 'python' in [[host]]"
        % (sys.executable, sys.version.split()[0]))
try:
    from zturbo.version import __version__ as found
except ImportError as error:
    end("%s, Python %s, has no zturbo (%s): 'pip install zturbo==WANTED' there, or name another Python with "
        "'python' in [[host]]" % (sys.executable, sys.version.split()[0], error))
if found != "WANTED":
    end("%s has zturbo %s, and this host WANTED: install one version on all hosts" % (sys.executable, found))
try:
    from zturbo.deploy.onhost import main
except ImportError as error:
    end("%s cannot import zturbo: %s" % (sys.executable, error))
main()
"""
"""Older Pythons can read it, too. It goes over stdin: some shells take no line breaks in a word."""

READ = "import sys; f = sys.stdin.buffer; exec(f.read(int(f.readline(9))))"


class Session:
    """A session on one host.

    Args:
        host: of the network file.
        ssh: words of the command.
        workdir: folder on the host.
        tell: called with each line that the host tells.
    """

    def __init__(self, host: HostSpec, ssh: Sequence[str], workdir: str, tell: Callable[[str], None]) -> None:
        self.host = host
        self._tell = tell
        self._ssh = ssh
        self._workdir = workdir
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._errors = bytearray()
        self._lines = 0

    def open(self) -> None:
        """Reach the host, and look whether its Python has this zturbo.

        Raises:
            StartError: it cannot be reached, or has no fit Python. It says what to do.
            UsageError: there is no ssh here.
        """
        program = shutil.which(self._ssh[0])
        if program is None:
            raise UsageError(f"there is no {self._ssh[0]} here: install it (Debian package openssh-client)")
        python = self.host.python
        command = f'"$HOME"/{shlex.quote(python[2:])}' if python[:2] == "~/" else shlex.quote(python)
        script = f"exec {command} -u -c {shlex.quote(READ)}"
        options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}"]
        options += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4"]
        words = [program, *self._ssh[1:], *options, "--", self.host.ssh, f"sh -c {shlex.quote(script)}"]
        with self._lock:
            if self._ended:
                raise StartError("stopped")
            # A session of its own: Ctrl-C must not end it before the far end has stopped what it began.
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        self._reader = threading.Thread(target=self._read_errors, args=(self._process,), daemon=True)
        self._reader.start()
        start = START.replace("WANTED", __version__).encode()
        self._write(b"%d\n" % len(start) + start)
        self.ask("", workdir=self._workdir, alive=ALIVE)
        threading.Thread(target=self._live, daemon=True).start()

    def ask(self, do: str, code: bytes = b"", **fields: Any) -> Any:
        """Send a request, and wait for its answer.

        Args:
            do: its name, as :mod:`zturbo.deploy.onhost` has it.
            code: what follows it.
            fields: what it says. Keys that it has go over this channel alone.

        Raises:
            StartError: the host could not do it, or has gone.
        """
        self._write(json.dumps({"do": do, **fields, "bytes": len(code)}).encode() + b"\n" + code)
        process = self._process
        assert process is not None and process.stdout is not None
        while line := process.stdout.readline(LONGEST):
            self._lines += 1
            if self._lines > MOST_LINES or not line.endswith(b"\n"):
                process.kill()
                raise StartError("does not end its answer: is that Python the right one?")
            try:
                answer = json.loads(line)
            except (ValueError, RecursionError):
                continue  # a greeting of the shell
            if not isinstance(answer, dict):
                continue
            if "told" in answer:
                self._tell(clip(str(answer["told"])))
            elif "error" in answer:
                raise StartError(clip(str(answer["error"]), LONGEST_ERROR))
            elif "done" in answer:
                return answer["done"]
        process.wait()
        assert self._reader is not None
        self._reader.join()
        raise StartError(self._why(process.returncode))

    def end(self) -> None:
        """End the session. What was not kept is stopped on the host, and this waits until it has."""
        with self._lock:
            self._ended = True
        self._over.set()
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                process.stdin.close()
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def _write(self, data: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        with self._writing, contextlib.suppress(OSError, ValueError):  # it has ended: its answer says why
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _live(self) -> None:
        """Let the far end know that this one is there, until the session ends."""
        while not self._over.wait(ALIVE):
            self._write(b'{"do": "alive"}\n')

    def _read_errors(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as stderr:
            while part := os.read(stderr.fileno(), LONGEST_ERROR):
                self._errors += part
                del self._errors[:-LONGEST_ERROR]

    def _why(self, code: int) -> str:
        """Why a session has ended that ought not to."""
        text = self._errors.decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith("Warning: ")]
        while len(told) > 1 and ("UNKNOWN port" in told[-1] or told[-1].startswith("kex_exchange_id")):
            del told[-1]  # the way through a jump host has ended, and a line before says why
        last = told[-1] if told else "it says nothing"
        last, target = last.rstrip("."), self.host.ssh
        if code == 126:
            return f"{self.host.python} cannot be run ({last}): name a Python with 'python' in [[host]]"
        if code == 127:
            return f"there is no {self.host.python} ({last}): name a Python with 'python' in [[host]]"
        if code != 255:
            return f"ended with exit code {code}: {last}"
        key = next((line for line in lines if line.startswith(NO_KEY)), "")
        if "Permission denied" in last and key:
            text = "mend that file: it is to be a private key that this user alone can read (chmod 600)"
            return f"ssh {target}: {key.removeprefix('Warning: ')}; {last}. {text}"
        if "Permission denied" in last:
            return (
                f"ssh {target}: {last}. ssh can ask for no password here: use a key (ssh-copy-id, ssh-agent)"
            )
        if "IDENTIFICATION HAS CHANGED" in text:
            return (
                f"ssh {target}: {last}. The host's key is not the one that ssh knows: find out why. If the "
                "host was set up anew, 'ssh-keygen -R HOST' forgets its old key"
            )
        if "Host key verification failed" in text:
            return f"ssh {target}: {last}. 'ssh {target}' shows the host's key, to be accepted once"
        if "Could not resolve hostname" in last:
            return f"ssh {target}: {last}. Name the host as your ssh knows it, with 'ssh' in [[host]]"
        return f"ssh {target}: {last}. 'ssh {target} true' has to work"
