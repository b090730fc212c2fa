"""An existing Celery application that has moved here by changing its two URLs: nothing in it knows of Backroom."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from kombu.common import Broadcast

__all__ = ["app", "make_app"]


def make_app(url: str, **settings: Any) -> Celery:
    """The application with the job store at ``url``; its tasks are in `tests.celery.tasks`."""
    app = Celery("plain", broker=url, backend=url, include=["tests.celery.tasks"], set_as_current=False)
    app.conf.update(
        accept_content=["json", "pickle"],
        task_queues=[
            Queue("celery"),
            Queue("pictures", Exchange("media", type="topic"), routing_key="media.picture.#"),
            Broadcast("everyone"),
        ],
        task_routes={"routed": {"queue": "pictures", "routing_key": "media.picture.small"}},
        broker_connection_retry_on_startup=True,
        result_extended=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
        result_serializer=os.environ.get("CELERY_TEST_RESULTS", "json"),
        worker_direct="CELERY_TEST_DIRECT" in os.environ,
    )
    if interval := os.environ.get("CELERY_TEST_BEAT"):
        app.conf.beat_schedule = {"often": {"task": "add", "schedule": float(interval), "args": (1, 1)}}
        app.conf.beat_max_loop_interval = 0.2
    app.conf.update(settings)
    return app


app = make_app(os.environ.get("CELERY_TEST_URL", "backroom://nowhere/0"))
