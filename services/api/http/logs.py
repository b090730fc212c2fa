"""Logs: one JSON object a line in containers, readable lines on a terminal; the request id in each."""

import logging
import sys
from collections.abc import Callable
from typing import Any, Final

import orjson
import structlog

from backroom.settings import Settings

__all__ = ["configure", "formatter", "wants_json"]

_SHARED: Final[list[structlog.typing.Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def wants_json(settings: Settings) -> bool:
    """Whether lines are JSON: as set, or, with ``auto``, wherever no terminal reads them."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def _dumps(event: dict[str, Any], *, default: Callable[[Any], Any]) -> bytes:
    return orjson.dumps(event, default=default)


def configure(settings: Settings) -> None:
    """Make structlog write to standard error in the format of the settings."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    wrapper = structlog.make_filtering_bound_logger(level)
    if wants_json(settings):
        structlog.configure(
            processors=[*_SHARED, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_dumps)],
            wrapper_class=wrapper,
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[*_SHARED, structlog.dev.ConsoleRenderer()],
            wrapper_class=wrapper,
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )


def formatter(settings: Settings) -> logging.Formatter:
    """A formatter that gives the lines of the standard library's loggers, gunicorn's among them, the same shape."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if wants_json(settings) else structlog.dev.ConsoleRenderer()
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
