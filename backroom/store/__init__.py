"""The job store: the only code that knows Redis."""

from backroom.store.connection import connect
from backroom.store.events import Event
from backroom.store.listing import Page
from backroom.store.metrics import Histogram, MetricsSnapshot, WebhookNumbers
from backroom.store.query import JobQuery
from backroom.store.queues import Limits, QueueView, Rate
from backroom.store.store import Store
from backroom.store.workers import WorkerView

__all__ = [
    "Event",
    "Histogram",
    "JobQuery",
    "Limits",
    "MetricsSnapshot",
    "Page",
    "QueueView",
    "Rate",
    "Store",
    "WebhookNumbers",
    "WorkerView",
    "connect",
]
