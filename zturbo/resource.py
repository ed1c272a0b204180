"""pyturbo's name for :mod:`zturbo.resources`."""

from zturbo.resources import Resources

__all__ = ["Resources"]
