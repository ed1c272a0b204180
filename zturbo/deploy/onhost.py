"""The far end of ``zturbo deploy``: does on one host what comes on stdin, and answers on stdout.

A request is a line of JSON. If it has ``bytes``, so many bytes of code follow it. Answers are lines of JSON
with one key: ``told`` while it works, and at last ``done`` or ``error``. The end of stdin ends the session.
What was started in it and not kept is stopped again then, for whatever reason the other side has gone. Of a
network that is gone no end of stdin tells. So the other side says that it is alive, each few seconds.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from typing import IO, Any

from zturbo.checks import is_loopback
from zturbo.deploy.units import resolved_words
from zturbo.deploy.workfolder import LOOK, Command, WorkFolder, python
from zturbo.errors import StartError, ZturboError
from zturbo.runtime.net.binds import own_addresses
from zturbo.runtime.net.host import tcp_address

__all__ = ["LARGEST", "LONGEST", "main"]

LONGEST = 4 << 20
"""Bytes of a line, at either end."""
LARGEST = 256 << 20
"""Bytes of code."""
SILENCES = 6
"""If so many signs of life did not come, the other side has gone."""
PART = 64 << 10
"""Bytes of code that are read at once: each part is a sign of life."""
SLOW = 5.0
"""Seconds after which it is told for which command this host waits."""

Request = dict[str, Any]


class Requests:
    """What comes on stdin, read by a thread, so that its end is noticed while a request is at work."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Request, bytes] | None] = queue.SimpleQueue()
        self.gone = threading.Event()
        """Whether the other side has gone."""
        self._heard = time.monotonic()
        self._patience = math.inf
        """Seconds in which the other side says something."""
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _read(self) -> None:
        stdin = sys.stdin.buffer
        try:
            while line := stdin.readline(LONGEST):
                self._heard = time.monotonic()
                request = json.loads(line)
                if request.get("do") == "alive":
                    continue
                if "alive" in request:
                    self._patience = SILENCES * float(request["alive"])
                size = int(request.get("bytes", 0))
                data = self._read_code(stdin, size) if 0 <= size <= LARGEST else b""
                if len(data) != size:
                    break
                self._queue.put((request, data))
        except (OSError, ValueError, TypeError, AttributeError):  # not the language of the other side
            pass
        self._end()

    def _read_code(self, stdin: IO[bytes], size: int) -> bytes:
        data = bytearray()
        while part := stdin.read(min(PART, size - len(data))):
            self._heard = time.monotonic()
            data += part
        return bytes(data)

    def _watch(self) -> None:
        """Note that nothing comes any more."""
        while not self.gone.wait(LOOK):
            if time.monotonic() > self._heard + self._patience:
                self._end()

    def _end(self) -> None:
        self.gone.set()
        self._queue.put(None)

    def next(self) -> tuple[Request, bytes] | None:
        """The next request and its code; None at the end."""
        return self._queue.get()


class Session:
    """What one ``zturbo deploy`` does on this host.

    Args:
        folder: its working folder.
        requests: what comes.
    """

    def __init__(self, folder: WorkFolder, requests: Requests) -> None:
        self._folder = folder
        self._requests = requests
        self._begun: list[Command] = []
        self._lock = contextlib.ExitStack()

    def do(self, request: Request, code: bytes) -> Any:
        """Do what a request says, and return its answer.

        Raises:
            ZturboError: it cannot be done.
        """
        return getattr(self, f"do_{request['do']}")(request, code)

    def end(self) -> None:
        """Stop what was begun and not kept."""
        self._folder.stop([command.path.stem for command in self._begun])
        self._lock.close()

    # -- requests -----------------------------------------------------------------------------
    def do_status(self, request: Request, code: bytes) -> Any:
        """What runs."""
        return [asdict(one) for one in self._folder.running()]

    def do_hold(self, request: Request, code: bytes) -> Any:
        """Hold the folder, until the session ends. Returns what runs."""
        self._lock.enter_context(self._folder.locked())
        if left := self._folder.left():
            _answer(told=f"{', '.join(left)}: left by a 'zturbo deploy' that was ended; stopped")
            self._folder.stop(left)
        return self.do_status(request, code)

    def do_has(self, request: Request, code: bytes) -> bool:
        """Whether a version of the code is here."""
        return self._folder.version(request["version"]).is_dir()

    def do_unpack(self, request: Request, code: bytes) -> None:
        """Make the folder of a version."""
        if not self.do_has(request, code):
            self._folder.unpack(request["version"], code)

    def do_keys(self, request: Request, code: bytes) -> None:
        """Write the keys of this host."""
        self._folder.write_keys(request["keys"])

    def do_start(self, request: Request, code: bytes) -> None:
        """Look whether the stages can be imported, start units, and wait until they have joined."""
        folder = self._folder.version(request["version"])
        places = {**self._folder.places, "@file": str(folder / request["file"])}
        until = time.monotonic() + request["timeout"]
        stages = [unit["name"] for unit in request["units"] if unit["workers"]]
        if stages:
            self._import(places["@file"], stages, request)
        address = _own_address(request["address"]) if request["address"] else ""
        begun: list[Command] = []
        for unit in request["units"]:
            words = resolved_words(unit["words"], places, address)
            if unit["workers"]:
                words += ["--workers", str(int(unit["workers"]))]
            env = request["env"]
            begun.append(self._folder.start(unit["name"], words, unit["workers"], request["version"], env))
            self._begun.append(begun[-1])
        for command in begun:
            self._await(command, until)

    def do_keep(self, request: Request, code: bytes) -> None:
        """Let stay what was started, and stop what it replaces."""
        begun, self._begun = self._begun, []
        for command in begun:
            self._folder.keep(command)
        living = {one.id for one in self._folder.running() if one.state != "ended"}
        if drain := [name for name in request["stop"] if name in living]:
            _answer(told=f"{', '.join(drain)}: stops, after its tasks")
        self._folder.stop(request["stop"])
        if request["version"]:
            self._folder.prune(request["version"])

    def do_logs(self, request: Request, code: bytes) -> Any:
        """The last lines of each command."""
        return self._folder.tails(int(request["lines"]))

    def do_zturbo(self, request: Request, code: bytes) -> Any:
        """Run a command of zturbo that ends by itself. Returns its exit code and its output."""
        folder = self._folder.version(request["version"])
        places = {**self._folder.places, "@file": str(folder / request["file"])}
        address = _own_address(request["address"]) if request["address"] else ""
        words = resolved_words(request["words"], places, address)
        env = {**request["env"], "ZTURBO_STATE": str(self._folder.path / "state")}
        return self._run(words, request, env)

    # -- parts --------------------------------------------------------------------------------
    def _run(self, words: list[str], request: Request, env: dict[str, str]) -> Any:
        until = time.monotonic() + request["timeout"]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(
                python(words),
                cwd=self._folder.version(request["version"]),
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            try:
                while process.poll() is None:
                    if time.monotonic() > until:
                        raise StartError(f"'zturbo {words[0]}' has not ended in time")
                    if self._requests.gone.wait(LOOK):
                        raise StartError("the other side has gone")
            finally:
                process.kill()
                process.wait()
            return {"code": process.returncode, "out": _end_of(out), "err": _end_of(err)}

    def _import(self, file: str, stages: list[str], request: Request) -> None:
        """Look whether this host's Python can import its stages, before anything is started."""
        words = ["check", file, *(word for name in stages for word in ("--stage", name))]
        done = self._run(words, request, request["env"])
        if done["code"]:
            raise StartError(f"{sys.executable} there:\n{done['err'].strip()}")

    def _await(self, command: Command, until: float) -> None:
        name, began = command.record.unit, time.monotonic()
        slow = began + SLOW
        while not command.joined:
            if problem := command.problem:
                raise StartError(f"{name} {problem}")
            if (now := time.monotonic()) > until:
                raise StartError(f"{name} has not joined in time:\n{command.tail()}")
            if now > slow:
                slow = until
                last = command.tail().splitlines()[-1:]
                _answer(told=f"waits for {name}{f': {last[0]}' if last else ''}")
            if self._requests.gone.wait(LOOK):
                raise StartError("the other side has gone")
        _answer(told=f"{name} has joined" if command.record.workers else f"{name} runs")


def _end_of(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST // 8))
    return file.read().decode("utf-8", "replace")


def _own_address(name: str) -> str:
    """The address of this host that a name leads to.

    Raises:
        StartError: it leads to none that others may reach.
    """
    own = own_addresses()
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise StartError(f"address: this host does not know the name {name} ({error.strerror})") from None
    good = [one for one in found if one in own and not is_loopback(tcp_address(one, 1))]
    if not good:
        raise StartError(
            f"address: {name} leads to no address of this host by which others reach it (it has "
            f"{', '.join(own)}): name one of these"
        )
    return good[0]


def _answer(**fields: Any) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more
        text = json.dumps(fields).encode() + b"\n"
        while text:
            text = text[os.write(1, text) :]


def _serve(requests: Requests) -> None:
    first = requests.next()
    if first is None:
        return
    session = Session(WorkFolder(first[0]["workdir"]), requests)
    try:
        _answer(done=None)
        while (request := requests.next()) is not None:
            _answer(done=session.do(*request))
    finally:
        session.end()


def main() -> None:
    """Serve one session."""
    os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        _serve(Requests())
    except ZturboError as error:
        _answer(error=str(error))
    except OSError as error:
        at = f"{error.filename}: " if error.filename is not None else ""
        text = "look at the disk and at the rights there, or name another folder with 'workdir' in [[host]]"
        _answer(error=f"{at}{error.strerror or error}: {text}")
    except Exception as error:  # the other side is to know of it, whatever it is
        _answer(error=f"{type(error).__name__}: {error}")
