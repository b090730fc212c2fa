"""The two Celery applications that are compared: Backroom's engine, and Celery on its own Redis transport.

``STOCK_URL`` is the Redis URL of the stock application. Backroom's comes from ``BACKROOM_REDIS_URL``.
"""

import os

from celery import Celery

from backroom.engine.app import create_app

__all__ = ["backroom", "stock"]

backroom = create_app("benchmark")

stock = Celery("benchmark", broker=os.environ.get("STOCK_URL"), backend=os.environ.get("STOCK_URL"))
stock.conf.update(
    task_default_queue="default",
    worker_prefetch_multiplier=64,  # the best for very short tasks
    worker_disable_rate_limits=True,
    broker_connection_retry_on_startup=True,
)


@backroom.task(name="noop")
def backroom_noop(**_: object) -> dict[str, int]:
    """Nothing."""
    return {"ok": 1}


@stock.task(name="noop")
def stock_noop(**_: object) -> dict[str, int]:
    """Nothing."""
    return {"ok": 1}
