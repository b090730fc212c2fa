"""Webhooks by hand: endpoints, and what the outbox makes of what happens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backroom.store.webhooks import OWN

if TYPE_CHECKING:
    from backroom.store import Store
    from backroom.store.deliveries import DeliveryView

URL = "https://shop.example/hooks"


def endpoint(store: Store, *events: str, url: str = URL) -> str:
    """A new endpoint. Returns its id."""
    view, _ = store.webhooks.create(url=url, events=events or ("completed",))  # type: ignore[arg-type]  # names of events
    return view.id


def dispatched(store: Store) -> None:
    """Make deliveries of all notices."""
    while store.outbox.dispatch():
        pass


def deliveries(store: Store, webhook: str = OWN) -> list[DeliveryView]:
    """Everything that a webhook is or was told, the oldest first."""
    dispatched(store)
    return store.deliveries.page(webhook, limit=200).deliveries[::-1]


def told(store: Store, webhook: str = OWN) -> list[tuple[str, str]]:
    """Events and jobs that a webhook is told of, the oldest first."""
    return [(view.event, view.job_id) for view in deliveries(store, webhook)]


def body(store: Store, delivery: DeliveryView) -> dict[str, Any]:
    """What is sent."""
    found: dict[str, Any] = json.loads(store.deliveries.parcel(delivery.id).body)
    return found


def notices(store: Store) -> int:
    """How many are in the outbox."""
    return int(store.redis.xlen(store.keys.single("webhooks:outbox")))
