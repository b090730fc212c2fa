"""A Celery application as it was before it moved here: plain tasks, and its periodic ones in its configuration.

``SHOP_ENTRIES`` names the entries of ``beat_schedule`` that it has.
"""

import os

from celery import Celery
from celery.schedules import crontab, schedule

URL = f"backroom+{os.environ['BACKROOM_REDIS_URL']}"


class Tidal(schedule):
    """A rhythm that no store can keep."""


ENTRIES = {
    "sum": {"task": "shop.add", "schedule": 0.5, "args": (2, 3)},
    "nightly": {"task": "shop.add", "schedule": crontab(minute=0, hour=3), "kwargs": {"x": 1, "y": 1}},
    "tidal": {"task": "shop.add", "schedule": Tidal(5), "args": (2, 3)},
}

app = Celery("shop", broker=URL, backend=URL)
app.conf.update(
    timezone="Europe/Berlin",
    beat_scheduler="backroom.engine.beat:JobScheduler",
    beat_schedule={name: ENTRIES[name] for name in os.environ.get("SHOP_ENTRIES", "").split()},
)


@app.task(name="shop.add")
def add(x: int, y: int) -> int:
    """Add."""
    return x + y
