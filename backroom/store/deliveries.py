"""Deliveries of webhooks: what is sent, to whom, and how it went."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis

from backroom.model.errors import NotDeliverable, NotFound
from backroom.model.job import format_time
from backroom.model.names import is_name
from backroom.model.states import DeliveryState
from backroom.settings import Settings
from backroom.store.audit import STACK, AuditEntry, audit_words
from backroom.store.connection import store_errors
from backroom.store.keys import Keys
from backroom.store.outbox import delivery_job
from backroom.store.part import Part
from backroom.store.positions import ANYWHERE, Cursor, Position, Walk, decode_cursor, encode_cursor, fingerprint
from backroom.store.records import from_ms
from backroom.store.scripts import ScriptRunner, pack
from backroom.store.webhooks import OWN, Webhooks

__all__ = ["Deliveries", "DeliveryPage", "DeliveryView", "Parcel", "Try"]

_LIST_NAME: Final = "deliveries"
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

    #: None: the job's own webhook.
    endpoint: str | None
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

    def page(
        self, webhook: str, *, states: Sequence[DeliveryState] = (), limit: int = 50, cursor: str | None = None
    ) -> DeliveryPage:
        """The deliveries of an endpoint, or of `OWN`, the newest first; ``states``: only those that are so; (): all.

        None is repeated, and none is skipped but one that comes to a wanted state meanwhile. Raises `InvalidInput` for
        a cursor of another list.
        """
        of = f"{_LIST_NAME}:{fingerprint([webhook, set(states)])}"
        after = None if cursor is None else decode_cursor(of, cursor).after
        keys = [self._keys.webhook(f"{webhook}:{each}") for each in dict.fromkeys(states) or ("deliveries",)]
        places: list[Position] = []
        with store_errors():
            for place in Walk(self._redis, keys, ANYWHERE, after, descending=True, first=limit + 1):
                if len(places) == limit:
                    following = encode_cursor(of, Cursor(places[-1], 0))
                    return DeliveryPage(self._views([each.id for each in places]), following)
                places.append(place)
        return DeliveryPage(self._views([each.id for each in places]), None)

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
            endpoint=None if webhook == OWN else webhook,
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
    ) -> str | None:
        """Keep how a try ended; ``disable``: the reason for which its endpoint is told nothing from now on.

        An endpoint of which nothing but failures came for too long is disabled as well. Returns the reason for which
        the endpoint has been disabled now, if it has been.
        """
        text = json.dumps([tried.at, tried.status, tried.duration_ms, tried.error], separators=(",", ":"))
        noted = AuditEntry(
            at=time.time_ns() // 1_000_000,
            actor=STACK,
            action="disable_webhook",
            target="",  # what is disabled, which the script knows
            status=200,
            request_id="",
            address="",
        )
        *words, _ = audit_words(noted)
        reason: str | None = self._run(
            "record_delivery",
            *(delivery_id, text, state, "" if next_at is None else next_at, url, disable or "", pack(words)),
        )
        return reason or None

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
