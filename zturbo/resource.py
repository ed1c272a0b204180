""":mod:`zturbo.hardware.resources` under the module name that pyturbo has for it."""

from zturbo.hardware.resources import Resources

__all__ = ["Resources"]
