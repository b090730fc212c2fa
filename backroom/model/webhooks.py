"""Webhooks in words: which events there are, what an address may be, and how messages are signed.

The signatures are those of Standard Webhooks 1.0 (https://www.standardwebhooks.com), symmetric scheme ``v1``.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Annotated, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from backroom.model.validation import CamelModel

__all__ = [
    "MAX_URL_LENGTH",
    "WEBHOOK_EVENTS",
    "WHSEC",
    "WebhookEvent",
    "WebhookEvents",
    "WebhookOption",
    "WebhookUrl",
    "new_secret",
    "signature",
]

#: What may be told: ends of jobs, and what happens to them on the way. ``failed`` is the final failure alone.
WebhookEvent = Literal["active", "completed", "failed", "retries-exhausted", "stalled", "cancelled", "expired"]
WEBHOOK_EVENTS: Final[tuple[WebhookEvent, ...]] = get_args(WebhookEvent)

MAX_URL_LENGTH: Final = 2048
WHSEC: Final = "whsec_"
#: The specification asks for 24 to 64.
_SECRET_BYTES: Final = 32


def _url(value: str) -> str:
    """An address that can be called as it stands: nothing hidden in it, nothing that is never sent."""
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be an address in ASCII without spaces: percent-encode others, and write IDNs as xn--...")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no address: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be an http:// or https:// address")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password: the signature says who calls")
    if "#" in value:
        raise ValueError("must not have a fragment: it is never sent")
    return value


def _some(values: tuple[WebhookEvent, ...]) -> tuple[WebhookEvent, ...]:
    """At least one, and each once."""
    if not values:
        raise ValueError("must name at least one event")
    return tuple(dict.fromkeys(values))


WebhookUrl = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=MAX_URL_LENGTH, json_schema_extra={"format": "uri"}),
    AfterValidator(_url),
]
WebhookEvents = Annotated[
    tuple[WebhookEvent, ...],
    Field(strict=False, max_length=32, json_schema_extra={"minItems": 1}),
    AfterValidator(_some),
]


class WebhookOption(CamelModel):
    """Who is told how one job fares."""

    url: WebhookUrl
    events: WebhookEvents


def new_secret() -> str:
    """A fresh secret to sign with, as receivers take it."""
    return WHSEC + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature(signing: Iterable[str], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` of a message: one signature by each of the secrets, which are ``whsec_...``.

    ``timestamp`` is when this attempt is made, in seconds since 1970.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    found = []
    for secret in signing:
        key = base64.b64decode(secret.removeprefix(WHSEC))
        found.append("v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode())
    return " ".join(found)
