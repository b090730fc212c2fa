"""The shape of log lines: one JSON object a line in containers, readable lines on a terminal."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import orjson
import structlog

from backroom.settings import Settings

__all__ = ["SHARED_PROCESSORS", "configure", "console_renderer", "formatter", "wants_json"]

#: What every line gets, whoever writes it.
SHARED_PROCESSORS: Final[tuple[structlog.typing.Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


#: Control characters, with which a text could work the terminal that shows it, as escapes. Not line ends and tabs.
_CONTROLS: Final = {code: ascii(chr(code))[1:-1] for code in (*range(9), *range(11, 32), *range(127, 160))}


def wants_json(settings: Settings) -> bool:
    """Whether lines are JSON: as set, or, with ``auto``, wherever no terminal reads them."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def console_renderer() -> structlog.typing.Processor:
    """Readable lines, coloured on a terminal unless ``NO_COLOR`` is set."""
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ)


def _harmless(_logger: Any, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Whoever calls the API chooses much of what lines say, such as addresses and the ids of users."""
    return {name: value.translate(_CONTROLS) if isinstance(value, str) else value for name, value in line.items()}


def formatter(settings: Settings, *more: structlog.typing.Processor) -> logging.Formatter:
    """Gives the lines of the standard library's loggers, gunicorn's and Celery's among them, the same shape.

    ``more`` say more about each line.
    """
    renderer = structlog.processors.JSONRenderer() if wants_json(settings) else console_renderer()
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    processors.insert(1, structlog.processors.format_exc_info if wants_json(settings) else _harmless)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*SHARED_PROCESSORS, structlog.stdlib.add_logger_name, *more], processors=processors
    )


def _dumps(event: dict[str, Any], *, default: Callable[[Any], Any]) -> bytes:
    return orjson.dumps(event, default=default)


def configure(settings: Settings) -> None:
    """Make structlog's own loggers write to standard error, in the format and from the level of the settings."""
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
            processors=[*SHARED_PROCESSORS, _harmless, console_renderer()],
            wrapper_class=wrapper,
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
