"""Deliveries of webhooks: what is sent, to whom, and how it went."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis

from backroom.model.errors import InvalidInput, NotDeliverable, NotFound
from backroom.model.job import format_time
from backroom.model.names import is_name
from backroom.settings import Settings
from backroom.store.connection import store_errors
from backroom.store.keys import Keys
from backroom.store.outbox import delivery_job
from backroom.store.part import Part
from backroom.store.records import from_ms
from backroom.store.scripts import ScriptRunner, pack
from backroom.store.webhooks import OWN, Webhooks

__all__ = ["Deliveries", "DeliveryPage", "DeliveryState", "DeliveryView", "Parcel", "Try"]

DeliveryState = Literal["pending", "delivered", "failed"]
_FIELDS = ("webhook", "url", "event", "job", "message", "state", "at", "made", "next")
#: How long, and how often, `Deliveries.redeliver` looks whether the try before has ended, in seconds.
_PATIENCE, _LOOK = 2.0, 0.02


@dataclass(frozen=True, slots=True)
class Try:
    """One try to deliver."""

    #: When it began, in ms since 1970.
    at: int
    #: What the receiver answered; None: nothing.
    status: int | None
    duration_ms: int
    #: What went wrong, in words.
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """The try in JSON's words."""
        at = format_time(from_ms(self.at))
        return {"at": at, "status": self.status, "durationMs": self.duration_ms, "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """A delivery as one reads it. Times are in ms since 1970."""

    id: str
    #: The endpoint; None: the job's own webhook.
    endpoint: str | None
    #: The address that was called last, or will be called.
    url: str
    #: Such as ``completed``.
    event: str
    job_id: str
    #: The ``webhook-id`` of its messages: the same in every try.
    message_id: str
    state: DeliveryState
    #: When the event was.
    at: int
    #: Tries so far, and the newest 50 of them, the newest last.
    made: int
    tries: tuple[Try, ...]
    #: When it is tried again; None: at once, or never.
    next_at: int | None

    def to_dict(self) -> dict[str, Any]:
        """The delivery in JSON's words."""
        return {
            "id": self.id,
            "endpoint": self.endpoint,
            "url": self.url,
            "type": f"job.{self.event}",
            "jobId": self.job_id,
            "webhookId": self.message_id,
            "state": self.state,
            "at": format_time(from_ms(self.at)),
            "attemptsMade": self.made,
            "attempts": [each.to_dict() for each in self.tries],
            "nextAttemptAt": format_time(from_ms(self.next_at)),
        }


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries, the newest first."""

    deliveries: list[DeliveryView]
    #: The cursor of the next page; None: this is the last.
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """All that is needed for a try to deliver."""

    url: str
    message_id: str
    event: str
    job_id: str
    body: bytes
    state: DeliveryState
    #: Those that sign now.
    secrets: tuple[str, ...]
    #: Why nobody takes it; None: somebody does.
    refused: str | None
    traceparent: str | None
    request_id: str | None


class Deliveries(Part):
    """The log of deliveries, and the post office's counter."""

    def __init__(self, redis: Redis, keys: Keys, scripts: ScriptRunner, *, settings: Settings) -> None:
        super().__init__(redis, keys, scripts)
        self._settings = settings
        self._webhooks = Webhooks(redis, keys, scripts)

    def get(self, delivery_id: str) -> DeliveryView:
        """One delivery. Raises `NotFound`."""
        for view in self._views([delivery_id]):
            return view
        raise NotFound("delivery", delivery_id)

    def page(self, webhook: str, *, limit: int = 50, cursor: str | None = None) -> DeliveryPage:
        """The deliveries of an endpoint, or of `OWN`, the newest first; none is repeated, none is skipped.

        Raises `InvalidInput` for a cursor that is none.
        """
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal()):
            raise InvalidInput.at("/cursor", "invalid-cursor", "is not the 'next' of a page of this list")
        key = self._keys.webhook(f"{webhook}:deliveries")
        with store_errors():
            top = "+inf" if cursor is None else f"({cursor}"
            rows = self._redis.zrange(
                key, top, "-inf", byscore=True, desc=True, offset=0, num=limit + 1, withscores=True
            )
        more = len(rows) > limit
        rows = rows[:limit]
        return DeliveryPage(self._views([row[0] for row in rows]), str(int(rows[-1][1])) if more else None)

    def parcel(self, delivery_id: str) -> Parcel:
        """What is to be sent. Raises `NotFound` if it, or its endpoint, has been removed."""
        with store_errors():
            found = self._redis.hgetall(self._keys.delivery(delivery_id))
        if not found:
            raise NotFound("delivery", delivery_id)
        webhook, url, refused = found["webhook"], found["url"], None
        if webhook != OWN:
            endpoint = self._webhooks.get(webhook)
            url = endpoint.url
            if endpoint.disabled_reason is not None:
                refused = f"the endpoint is disabled ({endpoint.disabled_reason})"
        return Parcel(
            url=url,
            message_id=found["message"],
            event=found["event"],
            job_id=found["job"],
            body=found["body"].encode(),
            state=found["state"],
            secrets=self._webhooks.secrets(webhook).all,
            refused=refused,
            traceparent=found.get("trace"),
            request_id=found.get("request"),
        )

    def record(
        self,
        delivery_id: str,
        tried: Try,
        state: DeliveryState,
        *,
        url: str,
        next_at: int | None = None,
        disable: str | None = None,
    ) -> None:
        """Keep how a try ended; ``disable``: the reason for which its endpoint is told nothing from now on."""
        text = json.dumps([tried.at, tried.status, tried.duration_ms, tried.error], separators=(",", ":"))
        self._run("record_delivery", delivery_id, text, state, "" if next_at is None else next_at, url, disable or "")

    def redeliver(self, delivery_id: str) -> DeliveryView:
        """Deliver again, under the same ``webhook-id`` and with all tries; one that is pending is tried at once.

        Raises `NotFound`, or `NotDeliverable` for one whose endpoint is disabled, and for one that ends at this moment.
        """
        if not is_name(delivery_id):
            raise NotFound("delivery", delivery_id)
        key = self._keys.delivery(delivery_id)
        with store_errors():
            trace, request = self._redis.hmget(key, "trace", "request")
        job = delivery_job(delivery_id, self._settings, trace=trace, request_id=request)
        deadline = time.monotonic() + _PATIENCE
        while (answer := self._run("redeliver", delivery_id, pack(job))[0]) != "ok":
            if answer == "missing":
                raise NotFound("delivery", delivery_id)
            if answer == "disabled":
                raise NotDeliverable(delivery_id, "its endpoint is disabled; enable it first")
            if time.monotonic() > deadline:
                raise NotDeliverable(delivery_id, "it is about to end; try again")
            time.sleep(_LOOK)  # its worker has kept how it went, and settles its job next
        return self.get(delivery_id)

    def _views(self, ids: Sequence[str]) -> list[DeliveryView]:
        ids = [each for each in ids if is_name(each)]  # others would be keys of something else
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for delivery_id in ids:
                pipeline.hmget(self._keys.delivery(delivery_id), *_FIELDS)
                pipeline.lrange(f"{self._keys.delivery(delivery_id)}:tries", 0, -1)
            answers = pipeline.execute()
        urls = {view.id: view.url for view in self._webhooks.list()} if ids else {}
        return [
            _view(delivery_id, dict(zip(_FIELDS, values, strict=True)), tries, urls)
            for delivery_id, values, tries in zip(ids, answers[::2], answers[1::2], strict=True)
            if values[0] is not None
        ]


def _view(delivery_id: str, record: Mapping[str, Any], tries: Sequence[str], urls: Mapping[str, str]) -> DeliveryView:
    webhook = record["webhook"]
    return DeliveryView(
        id=delivery_id,
        endpoint=None if webhook == OWN else webhook,
        url=record["url"] or urls.get(webhook, ""),
        event=record["event"],
        job_id=record["job"],
        message_id=record["message"],
        state=record["state"],
        at=int(record["at"]),
        made=int(record["made"] or 0),
        tries=tuple(Try(*json.loads(text)) for text in tries),
        next_at=int(record["next"]) if record["next"] else None,
    )
