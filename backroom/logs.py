"""The shape of log lines: one JSON object a line in containers, readable lines on a terminal."""

import logging
import os
import sys
from typing import Final

import structlog

from backroom.settings import Settings

__all__ = ["SHARED_PROCESSORS", "console_renderer", "formatter", "wants_json"]

#: What every line gets, whoever writes it.
SHARED_PROCESSORS: Final[tuple[structlog.typing.Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def wants_json(settings: Settings) -> bool:
    """Whether lines are JSON: as set, or, with ``auto``, wherever no terminal reads them."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def console_renderer() -> structlog.typing.Processor:
    """Readable lines, coloured on a terminal unless ``NO_COLOR`` is set."""
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ)


def formatter(settings: Settings, *more: structlog.typing.Processor) -> logging.Formatter:
    """Gives the lines of the standard library's loggers, gunicorn's and Celery's among them, the same shape.

    ``more`` say more about each line.
    """
    renderer = structlog.processors.JSONRenderer() if wants_json(settings) else console_renderer()
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    if wants_json(settings):
        processors.insert(1, structlog.processors.format_exc_info)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*SHARED_PROCESSORS, structlog.stdlib.add_logger_name, *more], processors=processors
    )
