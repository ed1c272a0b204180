"""The working folder of a network on a host: code by version, keys, and the commands that run.

In it lie

* ``versions/HASH``: the network file and the stages' code, a folder for each version;
* ``keys``: keys of this host, for this user alone;
* ``run/UNIT.NUMBER.json``: a command that was started. ``.ready`` beside it is there while all of its
  processes have joined the broker, and ``.log`` has its output, with what came before in ``.log.1``;
* ``state``: the ledger and the spools of the broker's host, and logs of workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zturbo.deploy.logsize import older
from zturbo.deploy.units import Running
from zturbo.errors import StartError

__all__ = ["Command", "WorkFolder"]

LOOK = 0.1
"""Seconds between two looks at a process."""
DRAIN = 30.0
"""Seconds that a command has to stop; then it is killed."""
TAIL = 12
"""Lines of a log that are told of a command that does not start."""
MOST = 1000
"""Lines in which the reason is looked for."""
LONGEST = 64 << 10
"""Bytes of a log that are read."""
SPARE = 2
"""Versions that are kept beside those that run."""

ZTURBO = "import sys; sys.path.remove(''); from zturbo.cli import main; sys.exit(main())"
"""Not ``-m``: a module of the stages' folder must not be imported in place of one of Python's."""
BOUNDED = ZTURBO.replace(
    "; sys.exit", "; from zturbo.deploy.logsize import bound_output; bound_output(); sys.exit"
)
"""The same, for a command that runs for long."""

VERSION = re.compile(r"[0-9a-f]{12}\Z")
UNIT = re.compile(r"[\w-]{1,64}(\.[\w-]{1,64})?\Z")


@dataclass(frozen=True, slots=True)
class Record:
    """A command that was started, as its file has it."""

    unit: str
    workers: int
    version: str
    pid: int
    birth: str
    """Tells the process from a later one with its number."""
    kept: bool = False
    """Whether it is to stay: all that was started with it has joined."""


class Command:
    """A command that this process has started."""

    def __init__(self, record: Record, path: Path, process: subprocess.Popen[bytes]) -> None:
        self.record = record
        self.path = path
        self.process = process

    @property
    def joined(self) -> bool:
        """Whether all of its processes have."""
        return self.path.with_suffix(".ready").exists()

    @property
    def problem(self) -> str | None:
        """Why it does not start; None while it may."""
        if self.process.poll() is not None:
            return f"has ended with exit code {self.process.returncode}:\n{self.tail()}"
        lines = [line for line in _tail(self.path, MOST).splitlines() if " does not start: " in line]
        if not lines:
            return None
        return f"does not start: {lines[0].partition(' does not start: ')[2]} (more in {self.log})"

    @property
    def log(self) -> Path:
        """The file with its output."""
        return self.path.with_suffix(".log")

    def tail(self) -> str:
        """The last lines of its output."""
        return _tail(self.path)


class WorkFolder:
    """A working folder.

    Args:
        path: of the folder; ``~`` is this user's home.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser().absolute()
        self._run = self.path / "run"
        self.places = {"@keys": str(self.path / "keys")}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and hold it alone.

        Raises:
            StartError: it cannot be made, or another ``zturbo deploy`` holds it.
        """
        try:
            for part in (self.path, self._run, self.path / "versions"):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = open(self.path / "lock", "w")
        except OSError as error:
            raise StartError(
                f"{error.filename} cannot be written: {error.strerror}; name another folder with 'workdir' "
                "in [[host]]"
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StartError(
                    f"another 'zturbo deploy' is at work in {self.path}: wait for its end"
                ) from None
            yield

    # -- code and keys ------------------------------------------------------------------------
    def version(self, name: str) -> Path:
        """The folder of a version of the code; raises StartError if it has no such name."""
        if not VERSION.match(name):
            raise StartError(f"{name!r:.40} is no version")
        return self.path / "versions" / name

    def unpack(self, name: str, code: bytes) -> None:
        """Make the folder of a version, whole or not at all.

        Raises:
            StartError: the tar has something that is no file below the folder, or cannot be written.
        """
        final = self.version(name)
        part = final.with_name(f".{name}.{os.getpid()}")
        try:
            with tarfile.open(fileobj=io.BytesIO(code)) as tar:
                for member in tar:
                    path = part / member.name
                    data = tar.extractfile(member) if member.isfile() else None
                    if data is None or ".." in path.parts or not path.is_relative_to(part):
                        raise StartError(
                            f"the code has {member.name!r:.100}, which is no file below its folder"
                        )
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data.read())
                    path.chmod(member.mode & 0o700 | 0o600)
            os.rename(part, final)
        except (OSError, tarfile.TarError) as error:
            raise StartError(f"the code cannot be unpacked in {final.parent}: {error}") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def prune(self, newest: str) -> None:
        """Remove versions that no command has, but for the newest ones."""
        used = {one.version for one in self.running()} | {newest}
        others = [path for path in (self.path / "versions").iterdir() if path.name not in used]
        for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[SPARE:]:
            shutil.rmtree(path, ignore_errors=True)

    def write_keys(self, keys: Mapping[str, str]) -> None:
        """Write this host's keys, for this user alone. Keys that are not named are removed."""
        folder = self.path / "keys"
        for name, text in keys.items():
            path = folder / name
            if ".." in path.parts or not path.is_relative_to(folder):
                raise StartError(f"{name!r:.100} is no name of a key")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                _replace(path, text)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if str(path.relative_to(folder)) not in keys:
                path.unlink()

    # -- commands -----------------------------------------------------------------------------
    def _records(self) -> dict[str, Record]:
        found = {}
        for path in sorted(self._run.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):  # removed meanwhile, or half written
                found[path.stem] = Record(**json.loads(path.read_text()))
        return found

    def running(self) -> list[Running]:
        """All that was started here and not stopped, in the order of its start."""
        found = []
        for name, record in self._records().items():
            ready = (self._run / f"{name}.ready").exists()
            alive = _birth(record.pid) == record.birth
            state = ("joined" if ready else "starts") if alive else "ended"
            found.append(Running(name, record.unit, record.workers, record.version, state))
        return sorted(found, key=lambda one: (one.unit, int(one.id.rpartition(".")[2])))

    def left(self) -> list[str]:
        """Ids of commands that were started and never kept: the session's end on this host was killed."""
        return [name for name, record in self._records().items() if not record.kept]

    def start(
        self, unit: str, words: Sequence[str], workers: int, version: str, env: Mapping[str, str]
    ) -> Command:
        """Start a command apart from this process.

        Args:
            unit: its name.
            words: of ``zturbo``.
            workers: how many it has.
            version: of the code.
            env: variables, beside those of this process.
        """
        if not UNIT.match(unit):
            raise StartError(f"{unit!r:.100} is no name of a unit")
        numbers = [int(path.name.split(".")[-2]) for path in self._run.glob(f"{unit}.*.json")]
        path = self._run / f"{unit}.{max(numbers, default=0) + 1}.json"
        path.with_suffix(".ready").unlink(missing_ok=True)
        file = path.with_suffix(".log")
        for one in (file, older(file)):
            one.unlink(missing_ok=True)
        with open(file, "ab") as log:
            process = subprocess.Popen(
                [*python(words, BOUNDED), "--ready-file", str(path.with_suffix(".ready"))],
                cwd=self.version(version),
                env={**os.environ, **env, "ZTURBO_STATE": str(self.path / "state")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        record = Record(unit, workers, version, process.pid, _birth(process.pid))
        _replace(path, json.dumps(asdict(record)))
        return Command(record, path, process)

    def keep(self, command: Command) -> None:
        """Let a command stay."""
        _replace(command.path, json.dumps({**asdict(command.record), "kept": True}))

    def stop(self, names: Iterable[str]) -> None:
        """Stop commands by their ids, all at once: they drain, and are killed if that takes too long."""
        until = time.monotonic() + DRAIN
        records = {name: record for name, record in self._records().items() if name in set(names)}
        for record in records.values():
            if _birth(record.pid) == record.birth:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(record.pid, signal.SIGTERM)
        for name, record in records.items():
            while _birth(record.pid) == record.birth:
                if time.monotonic() > until:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(record.pid, signal.SIGKILL)
                time.sleep(LOOK)
            for suffix in ("json", "ready"):
                (self._run / f"{name}.{suffix}").unlink(missing_ok=True)

    def tails(self, lines: int) -> dict[str, str]:
        """Id -> the last lines of the output of each command that was started and not stopped."""
        return {name: _tail(self._run / f"{name}.json", lines) for name in self._records()}


def python(words: Sequence[str], code: str = ZTURBO) -> list[str]:
    """The command that runs ``zturbo`` with these words in this Python."""
    return [sys.executable, "-c", code, *words]


def _replace(path: Path, text: str) -> None:
    """Write a file whole, for this user alone."""
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.replace(part, path)


def _tail(path: Path, lines: int = TAIL) -> str:
    log, text = path.with_suffix(".log"), b""
    for one in (log, older(log)):
        with contextlib.suppress(OSError), open(one, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST))
            text = file.read() + text
        if text.count(b"\n") >= lines:
            break
    return "\n".join(text.decode("utf-8", "replace").splitlines()[-lines:])


def _birth(pid: int) -> str:
    """Names a living process for good, as its number alone does not; empty if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    if fields[0] in "ZX":
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return ""
    return f"{boot}.{fields[19]}"
