"""Logging of workers and schedulers, in place of Celery's own set-up: the format and level of ``BACKROOM_LOG_*``."""

import logging
import sys
from typing import Any

import structlog
from celery.signals import setup_logging

from backroom import logs
from backroom.engine.capturing import LogCapture
from backroom.engine.current import running_job
from backroom.model.job import trace_id_of
from backroom.settings import Settings

__all__ = ["install"]


def _add_job(_logger: Any, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Say which job a line is about, and where that came from, if it is logged in the thread that runs the job."""
    job = running_job()
    if job is not None:
        line["job_id"] = job.id
        if job.request_id:
            line["request_id"] = job.request_id
        if job.traceparent:
            line["trace_id"] = trace_id_of(job.traceparent)
    return line


def install(settings: Settings) -> None:
    """Have the Celery processes of this product log as the others do. What jobs log is captured besides."""

    def configure(**_: Any) -> None:
        root = logging.getLogger()
        printed = logging.StreamHandler(sys.__stderr__)
        printed.setLevel(settings.log_level)
        printed.setFormatter(logs.formatter(settings, _add_job))
        root.handlers[:] = [*(handler for handler in root.handlers if isinstance(handler, LogCapture)), printed]
        root.setLevel(min(logging.INFO, printed.level))

    # A receiver of this signal is what keeps Celery from setting up logging itself.
    setup_logging.connect(configure, weak=False, dispatch_uid="backroom.engine.logs")
