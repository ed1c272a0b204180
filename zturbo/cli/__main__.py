"""``python -m zturbo.cli``."""

import sys

from zturbo.runtime.process.boot import ours_first

ours_first()

from zturbo.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
