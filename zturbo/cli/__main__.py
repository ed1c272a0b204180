"""``python -m zturbo.cli``."""

import sys

from zturbo.cli import main

if __name__ == "__main__":
    sys.exit(main())
