"""Logging of workers and schedulers, in place of Celery's own set-up: the format and level of ``BACKROOM_LOG_*``."""

import logging
import sys
from typing import Any

from celery.signals import setup_logging

from backroom import logs
from backroom.engine.capturing import LogCapture
from backroom.settings import Settings

__all__ = ["install"]


def install(settings: Settings) -> None:
    """Have the Celery processes of this product log as the others do. What jobs log is captured besides."""

    def configure(**_: Any) -> None:
        root = logging.getLogger()
        printed = logging.StreamHandler(sys.__stderr__)
        printed.setLevel(settings.log_level)
        printed.setFormatter(logs.formatter(settings))
        root.handlers[:] = [*(handler for handler in root.handlers if isinstance(handler, LogCapture)), printed]
        root.setLevel(min(logging.INFO, printed.level))

    # A receiver of this signal is what keeps Celery from setting up logging itself.
    setup_logging.connect(configure, weak=False, dispatch_uid="backroom.engine.logs")
