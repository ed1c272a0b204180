"""pyturbo's name for :mod:`zturbo.hardware.resources`."""

from zturbo.hardware.resources import Resources

__all__ = ["Resources"]
