"""Backroom's URLs in Celery's settings, and the Redis URLs behind them.

``backroom://host:port/db`` is Redis over TCP. The other forms put ``backroom+`` before a URL of the job store:
``backroom+rediss://`` (TLS), ``backroom+unix://path?db=0``, ``backroom+sentinel://host:port,host:port/service/db``.
"""

from typing import Any

from backroom.settings import get_settings

__all__ = ["celery_url", "redis_url", "store_url"]


def celery_url(url: str) -> str:
    """The broker and result URL for Celery of a store at this Redis URL."""
    return f"backroom+{url}"


def redis_url(url: str) -> str:
    """The Redis URL of a ``backroom`` URL, with or without the part before ``+`` (kombu and Celery cut it off)."""
    url = url.removeprefix("backroom+")
    return f"redis://{url.removeprefix('backroom://')}" if url.startswith("backroom://") else url


def store_url(app: Any) -> str:
    """The Redis URL of the job store that a Celery application works with: its broker, or the one of the settings.

    Of several brokers, for Celery takes lists, texts with semicolons, and others for reading and writing, the first.
    """
    for given in (app.conf.broker_read_url, app.conf.broker_write_url):  # both are `broker_url` unless they are set
        first = next(iter(given), "") if isinstance(given, list | tuple) else given
        url = str(first or "").partition(";")[0]
        if url.startswith("backroom"):
            return redis_url(url)
    return get_settings().redis_url
