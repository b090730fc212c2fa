"""The Celery application of a Backroom worker or scheduler."""

import importlib
import os
import pkgutil
from types import ModuleType

from celery import Celery, current_app

from backroom.engine import logs
from backroom.engine.urls import celery_url, store_url
from backroom.model.job import DEFAULT_QUEUE
from backroom.settings import Settings, get_settings
from backroom.store import Store, connect

__all__ = ["create_app", "current_store", "import_jobs"]


def create_app(name: str = "backroom", *, settings: Settings | None = None) -> Celery:
    """A Celery application whose broker, results and schedules are the job store."""
    settings = settings or get_settings()
    url = celery_url(settings.redis_url)
    app = Celery(name, broker=url, backend=url, amqp="backroom.engine.queues:EveryQueueAMQP")
    app.conf.update(
        task_default_queue=DEFAULT_QUEUE,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        enable_utc=True,
        timezone="UTC",
        broker_connection_retry_on_startup=True,
        # The desk claims what there are slots for; Celery fetches nothing.
        worker_prefetch_multiplier=1,
        worker_disable_rate_limits=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        beat_scheduler="backroom.engine.beat:JobScheduler",
        # A result is one answer among many: the job itself is the record.
        result_extended=True,
    )
    logs.install(settings)
    return app


def import_jobs(package: ModuleType) -> list[str]:
    """Import every module of a package of jobs. A module that cannot be imported raises, with its traceback."""
    names = sorted(f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__))
    for name in names:
        importlib.import_module(name)
    return names


_stores: dict[int, Store] = {}


def current_store() -> Store:
    """The job store, for code inside a job; one for each process."""
    pid = os.getpid()
    if pid not in _stores:
        _stores.clear()
        settings = get_settings()
        _stores[pid] = Store(connect(store_url(current_app), timeout=settings.redis_timeout_seconds), settings=settings)
    return _stores[pid]
