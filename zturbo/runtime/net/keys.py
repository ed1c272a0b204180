"""Keys: who may connect, and files that hold them.

A network has a folder of keys on its broker's host, which :func:`make_folder` makes. In it lie

* ``broker.key``: the broker's own key pair;
* ``ROLE-NAME.key``: a key pair of a node, a client, a viewer or an admin, to be moved to its host;
* ``allowed/ROLE-NAME.pub``: the public key of each that the broker lets in. To remove it is to revoke it.

A private file also has the broker's public key, so that its owner knows a true broker from a false one. It is
the user's alone: a file or a folder that others may read is refused.

A process is told of its keys by the path of one private file, or of a folder, in which it looks for one of
its role. No key is ever part of a command line, of an environment, or of a log.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

import zmq

from zturbo.errors import UsageError
from zturbo.errortext import plain_text
from zturbo.slotted import slotted

__all__ = [
    "ADMIN",
    "ASKING",
    "BROKER",
    "LOCAL",
    "ROLES",
    "Identity",
    "Security",
    "add",
    "allowed",
    "make_folder",
    "read_folder",
    "read_keys",
    "revoke",
    "seen_change",
]

ROLES = ("node", "client", "viewer", "admin")
"""Roles of keys. A node runs stages and sinks. A client submits jobs, and reads and cancels its own. A viewer
reads; an admin does what clients do, with all jobs."""

ASKING = ("admin", "client", "viewer")
"""Roles of keys for those who ask a broker. A command that finds several uses the first of these."""

BROKER = "broker"
LOCAL = "local"
"""Name of the node on the broker's host."""
ADMIN = "admin"
"""Name of the first admin."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
KEY = re.compile(r"[!-~]{40}\Z")
LINE = re.compile(r'(\w+) = "([^"\n]*)"\Z')
LONGEST = 4 << 10
"""Bytes that a file of keys may have."""

OLDEST = (4, 3, 3)
"""The first libzmq without a known fault that a stranger can reach: CVE-2019-13132, CVE-2020-15166,
CVE-2021-20235, CVE-2021-20237."""

MOST = 10_000
"""Most keys that a broker lets in."""


@slotted(frozen=True)
class Identity:
    """Whose a public key is."""

    role: str
    """``broker``, or one of :data:`ROLES`."""
    name: str

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


class Security:
    """The keys of this process: Z85, 40 characters each. Its ``repr`` shows none of them.

    Args:
        who: whose they are.
        public: its public key.
        secret: its private key.
        broker: the broker's public key.
        path: the file that they are from.
    """

    __slots__ = ("broker", "path", "public", "secret", "who")

    def __init__(self, who: Identity, public: str, secret: str, broker: str, path: str) -> None:
        self.who = who
        self.public = public
        self.secret = secret
        self.broker = broker
        self.path = path

    def __repr__(self) -> str:
        return f"Security({self.who}, {self.path})"


# -- reading --------------------------------------------------------------------------------------
def read_keys(path: str | Path, roles: Sequence[str]) -> Security:
    """The keys of this process.

    Args:
        path: a private file, or a folder with private files. Of several in a folder, one of the first of
            these roles is taken: the one that ``zturbo keys init`` has made, or else the only one.
        roles: the roles that will do, the best first.

    Raises:
        UsageError: there are none, others can read them, or they have another role. It says what to do.
    """
    check_library()
    where = Path(path)
    if os.path.isdir(where):  # False for what no file can be named
        where = _pick(where, roles)
    found = _read_private(where)
    if found.who.role not in roles:
        raise UsageError(
            f"{where} is the key of {_one(found.who.role)}, and this needs one of {_any(roles)}: "
            f"'zturbo keys add {_fit(roles)} NAME' makes one, on the broker's host"
        )
    return found


def check_library() -> None:
    """Raise UsageError if strangers could harm this libzmq before they have shown a key."""
    if zmq.zmq_version_info() < OLDEST or not zmq.has("curve"):
        oldest = ".".join(map(str, OLDEST))
        raise UsageError(
            f"keys need libzmq {oldest} or newer with CURVE, and this is {zmq.zmq_version()}: older ones "
            "have faults in the handshake. 'pip install --upgrade pyzmq' brings one"
        )


def _pick(folder: Path, roles: Sequence[str]) -> Path:
    check_private(folder)
    for role in roles:
        if role == BROKER:
            files = [path for path in (folder / "broker.key",) if path.exists()]
        else:
            files = sorted(folder.glob(f"{role}-*.key"))
        own = [path for path in files if path.stem in (f"node-{LOCAL}", f"admin-{ADMIN}")]
        if len(own) == 1 or len(files) == 1:
            return (own or files)[0]
        if files:
            names = ", ".join(path.name for path in files)
            raise UsageError(
                f"{folder} has several keys of role {role} ({names}): name one, with --keys FILE"
            )
    if not (folder / "broker.key").exists() and roles[0] == BROKER:
        raise UsageError(f"{folder} has no broker.key: 'zturbo keys init {folder}' makes a folder of keys")
    raise UsageError(
        f"{folder} has no key of {_any(roles)}: 'zturbo keys add {_fit(roles)} NAME' makes one, on the "
        "broker's host"
    )


def _one(role: str) -> str:
    return f"an {role}" if role == "admin" else f"a {role}"


def _fit(roles: Sequence[str]) -> str:
    """The role to make a key of: no more rights than are needed by most."""
    return "client" if "client" in roles else roles[0]


def _any(roles: Sequence[str]) -> str:
    return " or ".join(map(_one, roles))


def check_private(path: Path) -> None:
    """Raise UsageError if others than this user may read a file or a folder of keys.

    What is mounted read-only, as a Secret is in a container, has a mode that its mount decides. There a
    folder may have any mode, and the group may read a file.
    """
    try:
        mode = path.stat().st_mode
        mounted = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{plain_text(str(path))} cannot be read: {why}") from None
    mask = 0o077 if not mounted else 0 if stat.S_ISDIR(mode) else 0o007
    if mode & mask:
        right = "700" if stat.S_ISDIR(mode) else "600"
        raise UsageError(
            f"others can read {path} (mode {stat.S_IMODE(mode):o}), and it has private keys: chmod {right} "
            f"{path}. If others may have read it, make new keys"
        )


def _fields(path: Path) -> dict[str, str]:
    try:
        with open(path, "rb") as file:
            raw = file.read(LONGEST + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    lines = [line for line in raw.decode("ascii", "replace").splitlines() if line and line[0] != "#"]
    found = [LINE.match(line) for line in lines]
    if len(raw) > LONGEST or not all(found):
        raise UsageError(f"{path} is not a file of keys, as 'zturbo keys' makes them")
    return dict(match.groups() for match in found if match is not None)  # type: ignore[misc]


def _read_private(path: Path) -> Security:
    check_private(path)
    fields = _fields(path)
    keys = [fields.get(name, "") for name in ("public", "secret", "broker")]
    who = Identity(fields.get("role", ""), fields.get("name", ""))
    if not all(map(KEY.match, keys)) or who.role not in (BROKER, *ROLES) or not NAME.match(who.name):
        raise UsageError(f"{path} is not a private file, as 'zturbo keys' makes them")
    return Security(who, keys[0], keys[1], keys[2], str(path))


def allowed(folder: Path) -> dict[str, Identity]:
    """Public key -> whose it is, for all that the broker lets in. A file that cannot be read lets in nobody.

    Raises:
        UsageError: the folder cannot be read, or others may change it.
    """
    check_private(folder)
    out: dict[str, Identity] = {}
    where = _public(folder)
    try:
        names = sorted(name for name in os.listdir(where) if name.endswith(".pub"))
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}") from None
    for name in names[:MOST]:
        try:
            fields = _fields(where / name)
        except UsageError:  # it is being written or removed
            continue
        who = Identity(fields.get("role", ""), fields.get("name", ""))
        if who.role in ROLES and NAME.match(who.name) and KEY.match(fields.get("public", "")):
            out[fields["public"]] = who
    return out


def _public(folder: Path) -> Path:
    """Where the public keys lie: in ``allowed``, else in the folder itself, since a Secret has no folders."""
    return folder / "allowed" if (folder / "allowed").is_dir() else folder


def seen_change(folder: Path) -> frozenset[tuple[str, int, int]]:
    """A value that differs after keys were added or revoked, and is had without reading a file."""
    out = set()
    try:
        with os.scandir(_public(folder)) as entries:
            for entry in entries:
                about = entry.stat()
                out.add((entry.name, about.st_mtime_ns, about.st_ino))
    except OSError:  # one of them was removed meanwhile
        return frozenset()
    return frozenset(out)


# -- writing --------------------------------------------------------------------------------------
def make_folder(folder: Path) -> list[Path]:
    """Make a folder of keys: for a broker, the node on its host, and an admin. Returns the private files.

    Raises:
        UsageError: it has keys already, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(folder)
        (folder / "allowed").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from None
    public, secret = _pair()
    try:
        _write(folder / "broker.key", BROKER, BROKER, public, secret, public)
    except FileExistsError:
        raise UsageError(
            f"{folder} has keys already: 'zturbo keys list' shows them, 'zturbo keys add' makes more"
        ) from None
    return [folder / "broker.key", add(folder, "node", LOCAL), add(folder, "admin", ADMIN)]


def add(folder: Path, role: str, name: str) -> Path:
    """Make a key pair, and let the broker let it in. Returns the private file.

    Raises:
        UsageError: the role or the name is not valid, the name is in use, or the folder is not as it should
            be.
    """
    if role not in ROLES:
        raise UsageError(f"there is no role {role!r}; there are: {', '.join(ROLES)}")
    if not NAME.match(name):
        raise UsageError(f"{name!r} is not a valid name of a key: use letters, digits, '_', '.' and '-'")
    taken = [who.role for who in read_folder(folder) if who.name == name]
    if taken:
        raise UsageError(
            f"{folder} has {_one(taken[0])} {name} already: 'zturbo keys revoke {name}' takes it back"
        )
    broker = _read_private(folder / "broker.key").public
    public, secret = _pair()
    path = folder / f"{role}-{name}.key"
    try:
        _write(path, role, name, public, secret, broker)
        _write(folder / "allowed" / f"{role}-{name}.pub", role, name, public)
    except FileExistsError as error:
        raise UsageError(f"{error.filename} is there already: move it away first") from None
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from None
    return path


def read_folder(folder: Path) -> list[Identity]:
    """All that the broker lets in, in order.

    Raises:
        UsageError: it is not a folder of keys, or others can read it.
    """
    if not (folder / "broker.key").exists():
        raise UsageError(f"{folder} is not a broker's folder of keys: 'zturbo keys init {folder}' makes one")
    return sorted(allowed(folder).values(), key=lambda who: (ROLES.index(who.role), who.name))


def revoke(folder: Path, name: str) -> Identity:
    """Take a key back: from now on the broker lets it in no more. Its private file is removed if it is here.

    Raises:
        UsageError: no key has this name.
    """
    found = [who for who in read_folder(folder) if who.name == name]
    if not found:
        raise UsageError(f"{folder} has no key of the name {name!r}: 'zturbo keys list' shows all")
    for who in found:
        (folder / "allowed" / f"{who.role}-{name}.pub").unlink(missing_ok=True)
        (folder / f"{who.role}-{name}.key").unlink(missing_ok=True)
    if any(who.name == name for who in read_folder(folder)):
        raise UsageError(
            f"a file in {folder / 'allowed'} has another name than its key {name}: remove that file"
        )
    return found[0]


def _pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _write(path: Path, role: str, name: str, public: str, secret: str = "", broker: str = "") -> None:
    """Write a file of keys whole, under a new name, for this user alone. Raises FileExistsError, OSError."""
    lines = [("role", role), ("name", name), ("public", public)]
    kind = "A public key of zturbo."
    if secret:
        kind = "A private key of zturbo: keep it to yourself (mode 600)."
        lines += [("secret", secret), ("broker", broker)]
    text = f"# {kind}\n" + "".join(f'{key} = "{value}"\n' for key, value in lines)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.link(new, path)  # fails if the file is there
    finally:
        new.unlink()
