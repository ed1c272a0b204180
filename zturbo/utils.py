"""Helpers of ``zturbo`` under the module name that pyturbo has for them."""

from zturbo.api.log import get_logger
from zturbo.system.process_map import process_map
from zturbo.terminal.bar import progressbar

__all__ = ["get_logger", "process_map", "progressbar"]
