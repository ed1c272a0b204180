"""The code of a network's stages as one tar, and the name of its version: equal code has an equal name."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from zturbo.deploy.network import Network
from zturbo.errors import UsageError

__all__ = ["bundle"]

LARGEST = 64 << 20
"""Bytes of code that are copied."""
SKIPPED = {"__pycache__", "node_modules"}


def bundle(network: Network, folder: Path, more: Sequence[str] = ()) -> tuple[str, bytes]:
    """(version, tar) of the network file and the code of its stages.

    It has the file itself, all modules that lie in the folder, and all files of the packages that stages are
    from. A package that is not there has to be installed on the hosts.

    Args:
        network: the network file.
        folder: the one from which stages are imported.
        more: paths below the folder that are to be copied too.

    Raises:
        UsageError: a path is not below the folder, or there is too much.
    """
    names = {stage.cls.partition(":")[0].partition(".")[0] for p in network.pipelines for stage in p.stages}
    roots = [folder / name for name in sorted(names) if (folder / name).is_dir()] + sorted(
        folder.glob("*.py")
    )
    for text in more:
        path = (folder / text).absolute()
        if not path.is_relative_to(folder) or not path.exists():
            raise UsageError(f"--include: {text} is no file or folder below {folder}")
        roots.append(path)
    files = {str(path.relative_to(folder)): path for root in roots for path in _files(root)}
    files[Path(network.path).name] = Path(network.path)
    if (size := sum(path.stat().st_size for path in files.values())) > LARGEST:
        largest = max(files, key=lambda name: files[name].stat().st_size)
        raise UsageError(
            f"the stages' packages have {size >> 20} MB, and at most {LARGEST >> 20} MB are copied. The "
            f"largest file is {largest}: move data elsewhere"
        )
    out, digest = io.BytesIO(), hashlib.sha256()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(files):
            data = files[name].read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o700 if os.access(files[name], os.X_OK) else 0o600
            tar.addfile(member, io.BytesIO(data))
            digest.update(f"{name}\0{member.mode}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
    return digest.hexdigest()[:12], out.getvalue()


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        found += [Path(folder) / name for name in names if not name.startswith(".")]
    return [path for path in found if path.is_file()]
