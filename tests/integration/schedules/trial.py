"""A Celery application whose jobs note their numbers, in the order in which they run."""

from typing import Any

from backroom import job
from backroom.engine.app import create_app, current_store

app = create_app("trial")
app.set_default()


@job("noop")
def noop(data: dict[str, Any]) -> None:
    """Do nothing."""


@job("note")
def note(data: dict[str, Any]) -> None:
    """Note a number."""
    store = current_store()
    store.redis.rpush(store.keys.single("notes"), data["number"])


@job("tick", queue="ticks", attempts=2, schedule={"every": 500, "misfire": "all", "limit": 4})
def tick(data: dict[str, Any]) -> None:
    """Is made by its own schedule."""
