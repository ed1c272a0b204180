"""``zturbo``, and ``python -m zturbo``."""

import os
import sys

__all__ = ["main"]


def main() -> int:
    """Run this process's command line; returns the exit code."""
    try:
        from zturbo.runtime.process.boot import MODULES, ours_first

        if __name__ == "__main__":
            ours_first()
        words, forking = sys.argv[1:], None
        if words[:1] == ["up"] and not {"-h", "--help"} & {*words}:
            # It starts children: what they import is imported while the command itself is.
            from zturbo.runtime.node.forking import start_forking

            modules = [*MODULES.values()]
            if len(os.sched_getaffinity(0)) > 1:  # a worker loads its code while others are imported
                modules.sort(key=lambda module: module != MODULES["worker"])
            forking = start_forking(modules)
        try:
            from zturbo.cli import main as run
        except BaseException:
            if forking is not None:
                forking.close()
            raise
        return run(words, forking)
    except KeyboardInterrupt:  # so early that no command has begun
        return 130


if __name__ == "__main__":
    sys.exit(main())
