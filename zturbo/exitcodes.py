"""Exit codes of commands that others act on."""

from __future__ import annotations

__all__ = ["UNFIT_CODE"]

UNFIT_CODE = 4
"""A command's processes can never join the broker: whatever starts it again does so in vain."""
