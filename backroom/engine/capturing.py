"""What a job logs and prints, wherever in its code, goes into the job's log."""

import io
import logging
import sys
from typing import Any, TextIO

from backroom.engine.current import running_job

__all__ = ["LogCapture", "capture"]

#: Loggers of the machinery: what they say is not the job's. Celery sends what is printed through one of its own.
_MACHINERY = frozenset({"celery", "kombu", "amqp", "backroom", "redis"})


class LogCapture(logging.Handler):
    """Puts ordinary log records into the log of the job that runs in their thread."""

    def emit(self, record: logging.LogRecord) -> None:
        """Add the record to the running job's log, if a job runs and the record is its."""
        job = running_job()
        if job is None or record.name.partition(".")[0] in _MACHINERY:
            return
        try:
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + logging.Formatter().formatException(record.exc_info)
            job.log(record.levelname, record.name, message)
        except Exception:  # noqa: BLE001 - logging must never fail the job; this is what logging's handlers do
            self.handleError(record)


class _PrintCapture(io.TextIOBase):
    """A stream of which the running job's log has a copy, line by line."""

    def __init__(self, stream: TextIO, name: str, level: str) -> None:
        self._stream, self._name, self._level = stream, name, level

    def write(self, text: str) -> int:
        """Write on, and add whole lines to the log of the job that runs in this thread."""
        job = running_job()
        if job is not None:
            job.print(text, self._name, self._level)
        return self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream itself."""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def capture() -> None:
    """Capture what jobs log at INFO and above, whatever level this process's own output has, and what they print."""
    root, tasks = logging.getLogger(), logging.getLogger("celery.task")
    # What `celery.utils.log.get_task_logger` makes may not reach the root logger.
    for logger in (root,) if tasks.propagate else (root, tasks):
        if logger.level > logging.INFO:
            for handler in logger.handlers:
                handler.setLevel(max(handler.level, logger.level))
            logger.setLevel(logging.INFO)
        if not any(isinstance(handler, LogCapture) for handler in logger.handlers):
            logger.addHandler(LogCapture(level=logging.INFO))
    if not isinstance(sys.stdout, _PrintCapture):
        sys.stdout = _PrintCapture(sys.stdout, "print", "INFO")
    if not isinstance(sys.stderr, _PrintCapture):
        sys.stderr = _PrintCapture(sys.stderr, "stderr", "WARNING")
