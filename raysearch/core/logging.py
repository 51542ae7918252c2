"""The log of raysearch, which `-v` turns on for every command.

Each module logs to the logger of its own name. Without `-v` nothing is configured, so the terminal shows only a
command's output.
"""

import logging
import sys

from raysearch.core import sanitize

ROOT = "raysearch"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class StandardErrorHandler(logging.Handler):
    """Print records to the current `sys.stderr`, which a live view in the terminal replaces while it is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        print(sanitize.escape_controls(self.format(record)), file=sys.stderr, flush=True)


def configure_logging(verbosity: int) -> None:
    """Print the log of raysearch to standard error.

    Args:
        verbosity: 0 changes nothing, 1 shows progress, 2 or more shows details.
    """
    if verbosity <= 0:
        return
    logger = logging.getLogger(ROOT)
    logger.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
    for handler in [handler for handler in logger.handlers if isinstance(handler, StandardErrorHandler)]:
        logger.removeHandler(handler)
    handler = StandardErrorHandler()
    handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%H:%M:%S"))
    logger.addHandler(handler)
