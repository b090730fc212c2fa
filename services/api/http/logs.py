"""Logs: one JSON object a line in containers, readable lines on a terminal; the request id in each."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from backroom.logs import SHARED_PROCESSORS, console_renderer, formatter, wants_json
from backroom.settings import Settings

__all__ = ["configure", "formatter"]


def _dumps(event: dict[str, Any], *, default: Callable[[Any], Any]) -> bytes:
    return orjson.dumps(event, default=default)


def configure(settings: Settings) -> None:
    """Make structlog write to standard error in the format of the settings."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    wrapper = structlog.make_filtering_bound_logger(level)
    if wants_json(settings):
        structlog.configure(
            processors=[
                *SHARED_PROCESSORS,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(_dumps),
            ],
            wrapper_class=wrapper,
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[*SHARED_PROCESSORS, console_renderer()],
            wrapper_class=wrapper,
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
