"""``python -m zturbo``."""

import sys

try:
    from zturbo.runtime.process.boot import ours_first

    ours_first()

    from zturbo.cli import main

    if __name__ == "__main__":
        sys.exit(main())
except KeyboardInterrupt:  # so early that no command has begun
    sys.exit(130)
