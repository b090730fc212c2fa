"""Backroom: a self-hosted stack for background jobs.

What the author of a job needs is here::

    from backroom import Exponential, current_job, job

    @job("usage-report", queue="reports", attempts=5, backoff=Exponential(1.0))
    def usage_report(data: UsageReport) -> dict[str, str]:
        current_job.progress(40)
        ...

Importing the package imports neither Celery nor Redis: each name is loaded when it is first used, so that the API and
the exporter, which share the lower floors with the worker, stay small.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from backroom.engine.current import current_job
    from backroom.engine.jobs import job
    from backroom.model.backoff import Exponential, Fixed
    from backroom.model.control import RateLimited, RetryAfter, Unrecoverable

__version__: Final = "0.1.0"

__all__ = [
    "Exponential",
    "Fixed",
    "RateLimited",
    "RetryAfter",
    "Unrecoverable",
    "__version__",
    "current_job",
    "job",
]

_HOME_OF: Final = {
    "Exponential": "backroom.model.backoff",
    "Fixed": "backroom.model.backoff",
    "RateLimited": "backroom.model.control",
    "RetryAfter": "backroom.model.control",
    "Unrecoverable": "backroom.model.control",
    "current_job": "backroom.engine.current",
    "job": "backroom.engine.jobs",
}


def __getattr__(name: str) -> object:
    """Load a public name from its home on first use (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
