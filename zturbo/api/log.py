"""Loggers for a user's code and for the processes of a ``System``."""

from __future__ import annotations

import logging
import os
import sys

from zturbo.api.options import Options
from zturbo.checks import check_type
from zturbo.errors import UsageError
from zturbo.errortext import shown_text

__all__ = ["FORMAT", "SafeFormatter", "get_logger", "log_with_remote_traceback", "set_up_logging"]

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"


def get_logger(name: str, level: int | None = None, log_file: str | None = None) -> logging.Logger:
    """A logger that writes to stderr, and to a file if you name one.

    If the program has set up logging itself, the root logger has a handler. Then this logger gets none for
    stderr.

    Args:
        name: of the logger; the same name gives the same logger.
        level: the lowest level that is logged; default INFO, or DEBUG with the option ``print_debug_log``.
        log_file: a file to append to; default the option ``log_file``.

    Raises:
        UsageError: ``name`` is not a str, or the file cannot be opened.
    """
    check_type("get_logger: name", name, str, "a str")
    logger = logging.getLogger(name)
    _set_up(logger, level, log_file)
    return logger


def set_up_logging() -> None:
    """Let zturbo's own loggers in this process write to the places that the options name."""
    _set_up(logging.getLogger("zturbo"), None, None)


class SafeFormatter(logging.Formatter):
    """Escapes control characters in zturbo's own lines: they may quote names and errors of other programs,
    which must not control the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        text = super().format(record)
        return shown_text(text) if record.name.partition(".")[0] == "zturbo" else text


class _Brief(SafeFormatter):
    """For a terminal: leaves out another process's traceback, because the line names its error already."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a remote traceback."""
        if not hasattr(record, "remote"):
            return super().format(record)
        brief = logging.makeLogRecord({**record.__dict__, "exc_text": None})
        return super().format(brief)


def log_with_remote_traceback(logger: logging.Logger, text: str, traceback: str) -> None:
    """Log one line at ERROR. In log files, but not on terminals, the other process's traceback follows."""
    if not logger.isEnabledFor(logging.ERROR):
        return
    caller = sys._getframe(1)
    at = (caller.f_code.co_filename, caller.f_lineno)
    record = logger.makeRecord(logger.name, logging.ERROR, *at, text, (), None, extra={"remote": True})
    record.exc_text = traceback.rstrip() or None
    logger.handle(record)


def _set_up(logger: logging.Logger, level: int | None, log_file: str | None) -> None:
    if level is None:
        level = logging.DEBUG if Options.print_debug_log else logging.INFO
    logger.setLevel(level)
    if log_file is None and logger.name.startswith("zturbo."):
        logger = logging.getLogger("zturbo")  # one handler for all of them
    if not logger.hasHandlers():
        _add(logger, logging.StreamHandler(), _Brief(FORMAT))
    path = log_file or Options.log_file
    if path is not None and not _writes_to(logger, os.path.abspath(path)):
        try:
            handler = logging.FileHandler(path)
        except (OSError, ValueError) as error:  # ValueError: no file can have such a name
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"log_file: {path!a:.200} cannot be opened: {why}") from None
        _add(logger, handler, SafeFormatter(FORMAT))


def _add(logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    logger.addHandler(handler)


def _writes_to(logger: logging.Logger, path: str) -> bool:
    at: logging.Logger | None = logger
    while at is not None:
        if any(isinstance(h, logging.FileHandler) and h.baseFilename == path for h in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False
