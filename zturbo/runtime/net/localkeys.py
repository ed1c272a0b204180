"""Keys that a network on loopback makes by itself, and where this user's clients find them.

Other users of a host reach its loopback addresses. So where there are any, the commands that start a broker
on loopback make a folder of keys beside its state. While the broker runs, a file that is this user's alone
tells where the folder is. A client of this user on this host finds it by the port, and needs no flag.

The file is locked as long as its broker runs: of one that was killed nothing is believed. It lies in the
user's home, or in a folder below ``/tmp`` if the home cannot be written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from zturbo.checks import is_loopback
from zturbo.errors import UsageError
from zturbo.runtime.net.host import host_name
from zturbo.runtime.net.keys import make_folder, read_folder

__all__ = [
    "announced",
    "find_local",
    "has_other_users",
    "make_local",
    "to_make",
    "unmake",
    "wants_local",
]

FOLDER = "local-keys"
"""Name of the folder, below a network's state."""

LONGEST = 4096
"""Bytes of a path."""

FIRST_USER = 1000
"""User ids from here on are people's, on most systems."""

NO_SHELLS = ("nologin", "false", "sync", "halt", "shutdown")


def wants_local(address: str, choice: str) -> bool:
    """Whether a broker at this address makes keys by itself.

    Args:
        address: where it is bound.
        choice: ``auto`` for keys if others have accounts here; ``always``; ``never``.
    """
    if choice == "never" or not address.startswith("tcp:") or not is_loopback(address):
        return False
    return choice == "always" or has_other_users()


def has_other_users(passwd: str = "/etc/passwd", logins: str = "/run/user") -> bool:
    """Whether somebody else than this user may work on this host: a person has an account in its list of
    accounts, with a shell, or is logged in. Services are not counted, nor accounts of a directory that were
    never used."""
    own = os.geteuid()
    with contextlib.suppress(OSError):
        for name in os.listdir(logins):
            if name.isdecimal() and FIRST_USER <= int(name) != own:
                return True
    try:
        with open(passwd, encoding="utf-8", errors="replace") as file:
            accounts = [line.rstrip("\n").split(":") for line in file]
    except OSError:
        return False
    return any(
        len(fields) == 7
        and fields[2].isdecimal()
        and FIRST_USER <= int(fields[2]) < 65_534
        and int(fields[2]) != own
        and os.path.basename(fields[6]) not in NO_SHELLS
        for fields in accounts
    )


def make_local(state: Path) -> Path:
    """The folder of keys beside a state; it is made if it is not there.

    Raises:
        UsageError: it cannot be made, or others can read it.
    """
    folder = state / FOLDER
    if not folder.exists():
        part = state / f".{FOLDER}.{os.getpid()}"
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_folder(part)
            os.rename(part, folder)
        except OSError as error:
            if not folder.exists():  # else another command of this network has made them at this moment
                raise UsageError(
                    f"{state} cannot be written: {error.strerror}. Name another folder with --state"
                ) from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    if not read_folder(folder):
        raise UsageError(f"{folder} has no keys: remove it, and it is made anew")
    return folder


def to_make(state: Path) -> list[Path]:
    """The folders that :func:`make_local` would make, the innermost first."""
    return [folder for folder in (state / FOLDER, state, *state.parents) if not folder.exists()]


def unmake(made: list[Path], address: str) -> None:
    """Remove what a command has made that ended by an error, if no broker has the keys by now.

    Args:
        made: what :func:`to_make` has said before. Of folders around the keys those are removed that are
            empty.
        address: of the network's broker.
    """
    if not made or made[0].name != FOLDER or find_local(address) == os.path.abspath(made[0]):
        return
    shutil.rmtree(made[0], ignore_errors=True)
    with contextlib.suppress(OSError):
        for folder in made[1:]:
            folder.rmdir()


def _folders() -> list[Path]:
    """Folders in which this user's files may lie, the best first."""
    import pwd  # few processes need it

    out = []
    with contextlib.suppress(KeyError):  # in a container, a user may have no account
        out.append(Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".zturbo" / "local")
    return [*out, Path(f"/tmp/zturbo-{os.geteuid()}")]


def _is_own(path: Path | int, mode: int) -> bool:
    """Whether a file or a folder is this user's alone, and no link."""
    try:
        about = os.stat(path) if isinstance(path, int) else os.lstat(path)
    except OSError:
        return False
    right = about.st_uid == os.geteuid() and not about.st_mode & 0o077
    return right and stat.S_IFMT(about.st_mode) == mode


def _name(address: str) -> str | None:
    """The file's name: hosts may share a home, and containers a name."""
    try:
        port = urlsplit(address).port
    except ValueError:
        return None
    return f"{'-'.join(host_name().rsplit('-', 2)[1:]) or 'host'}-{port}" if port else None


@contextlib.contextmanager
def announced(address: str, keys: str | None) -> Iterator[Path | None]:
    """Let this user's clients find the keys of a broker at this address, as long as this lasts.

    Args:
        address: of the broker.
        keys: its folder of keys. Nothing is told of keys that :func:`make_local` has not made.

    Yields:
        The file that tells it; None if there is none.
    """
    if keys is None or Path(keys).name != FOLDER:
        yield None
        return
    name = _name(address)
    for where in _folders():
        try:
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_own(where, stat.S_IFDIR) or name is None:
                continue
            fd = os.open(where / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.write(fd, os.fsencode(os.path.abspath(keys)))
        except OSError:  # another broker has it, and this one will not get the address
            os.close(fd)
            yield None
            return
        try:
            yield where / name
        finally:
            with contextlib.suppress(OSError):
                (where / name).unlink()
            os.close(fd)
        return
    yield None


def find_local(address: str) -> str | None:
    """The folder of keys of this user's broker at this address on loopback, if one runs there with keys."""
    name = _name(address) if address.startswith("tcp:") and is_loopback(address) else None
    for where in _folders() if name is not None else ():
        assert name is not None
        try:
            fd = os.open(where / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if not _is_own(where, stat.S_IFDIR) or not _is_own(fd, stat.S_IFREG):
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # its broker runs
                return os.fsdecode(os.read(fd, LONGEST)) or None
        except OSError:
            continue
        finally:
            os.close(fd)
    return None
