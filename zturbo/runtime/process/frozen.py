"""Whether the kernel shows a process as stopped or dead."""

from __future__ import annotations

__all__ = ["frozen"]


def frozen(pid: int) -> bool:
    """Whether this process is stopped (SIGSTOP, a debugger), dead, or gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:  # this process has no descriptors left, which tells nothing of the other one
        return False
    state = stat[stat.rindex(b")") + 2 :][:1]
    return state in b"TtZX"
