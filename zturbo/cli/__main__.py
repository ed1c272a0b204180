"""``python -m zturbo.cli``."""

import sys

from zturbo.cli import main

sys.exit(main())
