"""The scheduler: Celery beat with Backroom's scheduler class."""

from backroom.engine.app import create_app

__all__ = ["app"]

app = create_app("backroom-scheduler")
