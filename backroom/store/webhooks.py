"""Endpoints of webhooks: whom the stack tells of all jobs, and the secrets that it signs with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backroom.model.errors import NotFound, WebhooksFull
from backroom.model.job import format_time
from backroom.model.names import is_name, new_id
from backroom.model.webhooks import WebhookEvent, new_secret
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.records import from_ms, ms_of_clock
from backroom.store.scripts import pack

__all__ = ["MAX_ENDPOINTS", "OWN", "ROTATION_MS", "EndpointView", "SecretPair", "Webhooks"]

#: Each costs a look at every notice.
MAX_ENDPOINTS: Final = 100
#: For how long the secret before the newest signs as well, in ms.
ROTATION_MS: Final = 86_400_000
#: Stands for the own webhooks of all jobs (their option ``webhook``), where an endpoint is named by its id.
OWN: Final = "jobs"
#: Deliveries forgotten in one call when an endpoint is removed.
_FORGOTTEN_AT_ONCE = 500

_FIELDS = ("url", "events", "description", "created", "disabled", "disabledAt", "failingSince", "oldUntil", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    """An endpoint as one reads it. Times are in ms since 1970."""

    id: str
    url: str
    events: tuple[str, ...]
    description: str | None
    created_at: int
    #: Why it is told nothing: ``gone`` (it answered 410), ``failing`` (for too long) or ``by-hand``; None: it is told.
    disabled_reason: str | None
    disabled_at: int | None
    #: Since when every try has failed; None: the last one did not.
    failing_since: int | None
    #: Until when the secret before the newest signs as well.
    old_secret_until: int | None
    #: Deliveries that wait or are retried.
    pending: int
    #: Deliveries that were never made, because too many were pending.
    dropped: int

    def to_dict(self) -> dict[str, Any]:
        """The endpoint in JSON's words, without its secret."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "description": self.description,
            "enabled": self.disabled_reason is None,
            "disabledReason": self.disabled_reason,
            "disabledAt": format_time(from_ms(self.disabled_at)),
            "failingSince": format_time(from_ms(self.failing_since)),
            "createdAt": format_time(from_ms(self.created_at)),
            "oldSecretUntil": format_time(from_ms(self.old_secret_until)),
            "pending": self.pending,
            "dropped": self.dropped,
        }


@dataclass(frozen=True, slots=True)
class SecretPair:
    """What messages are signed with."""

    secret: str
    #: The one before, and until when it signs as well, in ms since 1970; None: no longer.
    old: str | None
    old_until: int | None

    @property
    def all(self) -> tuple[str, ...]:
        """Those that sign now, the newest first."""
        return (self.secret,) if self.old is None else (self.secret, self.old)


class Webhooks(Part):
    """Endpoints by id, and their secrets; `OWN` has secrets like an endpoint."""

    def create(
        self,
        *,
        url: str,
        events: Sequence[WebhookEvent],
        description: str | None = None,
        endpoint_id: str | None = None,
    ) -> tuple[EndpointView, str]:
        """A new endpoint, and its secret. Raises `WebhooksFull` if there are `MAX_ENDPOINTS` already.

        With an ``endpoint_id`` that is in use, nothing is created: the answer is the endpoint that has it.
        """
        endpoint_id = endpoint_id or new_id()
        with store_errors():
            known = self._redis.hget(self._keys.webhook(endpoint_id), "secret")
        if known is not None:
            return self.get(endpoint_id), known
        secret = new_secret()
        fields = {"url": url, "events": " ".join(events), "secret": secret}
        if description is not None:
            fields["description"] = description
        if self._put(endpoint_id, fields, new=True) < 0:
            raise WebhooksFull(MAX_ENDPOINTS)
        return self.get(endpoint_id), secret

    def update(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[WebhookEvent] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> EndpointView:
        """Change an endpoint; what is None stays. Raises `NotFound`."""
        fields = {"url": url, "events": None if events is None else " ".join(events), "description": description}
        given = {name: value for name, value in fields.items() if value is not None}
        switch = "" if enabled is None else "1" if enabled else "by-hand"
        if not is_name(endpoint_id) or not self._put(endpoint_id, given, switch=switch):
            raise NotFound("webhook", endpoint_id)
        return self.get(endpoint_id)

    def _put(self, endpoint_id: str, fields: Mapping[str, str], *, new: bool = False, switch: str = "") -> int:
        words = [word for field in fields.items() for word in field]
        return int(self._run("put_webhook", endpoint_id, "1" if new else "0", pack(words), switch, MAX_ENDPOINTS))

    def get(self, endpoint_id: str) -> EndpointView:
        """One endpoint. Raises `NotFound`."""
        for view in self._views([endpoint_id]):
            return view
        raise NotFound("webhook", endpoint_id)

    def remove(self, endpoint_id: str) -> None:
        """Remove an endpoint with its deliveries: those that are pending will not be made. Raises `NotFound`."""
        if not is_name(endpoint_id):
            raise NotFound("webhook", endpoint_id)
        there, more = self._run("remove_webhook", endpoint_id, _FORGOTTEN_AT_ONCE)
        while more:
            _, more = self._run("remove_webhook", endpoint_id, _FORGOTTEN_AT_ONCE)
        if not there:
            raise NotFound("webhook", endpoint_id)

    def secrets(self, webhook: str) -> SecretPair:
        """What the messages of an endpoint, or of `OWN`, are signed with. Raises `NotFound`."""
        key = self._keys.webhook(webhook)
        with store_errors():
            if webhook == OWN and not self._redis.hexists(key, "secret"):  # made once, by whoever asks first
                self._redis.hsetnx(key, "secret", new_secret())
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hmget(key, "secret", "oldSecret", "oldUntil")
            pipeline.time()
            (secret, old, until), clock = pipeline.execute()
        if secret is None:
            raise NotFound("webhook", webhook)
        if until is None or int(until) <= ms_of_clock(clock):
            old = until = None
        return SecretPair(secret, old, None if until is None else int(until))

    def rotate(self, webhook: str) -> SecretPair:
        """A new secret; the one before signs beside it for a day. Raises `NotFound`."""
        self.secrets(webhook)
        if not self._run("rotate_secret", webhook, new_secret(), ROTATION_MS):
            raise NotFound("webhook", webhook)
        return self.secrets(webhook)

    def _views(self, ids: Sequence[str]) -> list[EndpointView]:
        ids = [each for each in ids if is_name(each)]  # others would be keys of something else
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for endpoint_id in ids:
                pipeline.hmget(self._keys.webhook(endpoint_id), *_FIELDS)
                pipeline.zcard(self._keys.webhook(f"{endpoint_id}:pending"))
            answers = pipeline.execute()
        return [
            _view(endpoint_id, dict(zip(_FIELDS, values, strict=True)), pending)
            for endpoint_id, values, pending in zip(ids, answers[::2], answers[1::2], strict=True)
            if values[0] is not None
        ]

    def list(self) -> list[EndpointView]:
        """All endpoints, by creation."""
        with store_errors():
            ids = self._redis.zrange(self._keys.single("webhooks"), 0, -1)
        return self._views(ids)


def _view(endpoint_id: str, record: Mapping[str, str | None], pending: int) -> EndpointView:
    return EndpointView(
        id=endpoint_id,
        url=record["url"] or "",
        events=tuple((record["events"] or "").split()),
        description=record["description"],
        created_at=int(record["created"] or 0),
        disabled_reason=record["disabled"],
        disabled_at=None if record["disabledAt"] is None else int(record["disabledAt"]),
        failing_since=None if record["failingSince"] is None else int(record["failingSince"]),
        old_secret_until=None if record["oldUntil"] is None else int(record["oldUntil"]),
        pending=pending,
        dropped=int(record["dropped"] or 0),
    )
