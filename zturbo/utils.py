"""pyturbo's name for helpers that ``zturbo`` has."""

from zturbo.bar import progressbar
from zturbo.log import get_logger
from zturbo.pool import process_map

__all__ = ["get_logger", "process_map", "progressbar"]
