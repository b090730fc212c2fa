"""``send-push``: a Web Push message to a browser, encrypted and signed (VAPID)."""

import json
import logging
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from backroom import Exponential, Unrecoverable, job
from backroom.outbound import check_status, origin
from services.worker.support.calling import outbound
from services.worker.support.data import JobData
from services.worker.support.endings import unrecoverable
from services.worker.support.settings import JobSettings, get_job_settings
from services.worker.support.webpush import MAX_MESSAGE_BYTES, InvalidKey, VapidKey, encrypt

log = logging.getLogger(__name__)

#: Four weeks, in seconds: push services keep no message longer.
MAX_TTL = 28 * 86_400


class PushKeys(JobData):
    """The browser's public key and its secret, in base64url."""

    p256dh: str = Field(min_length=1, max_length=200)
    auth: str = Field(min_length=1, max_length=100)


class PushSubscription(JobData):
    """What ``PushSubscription.toJSON()`` yields in the browser."""

    endpoint: Annotated[str, Field(pattern=r"^https://[^\s/?#@]+([/?#]\S*)?$", max_length=2048)]
    expiration_time: float | None = None
    keys: PushKeys


class SendPush(JobData):
    """Where to, and what."""

    subscription: PushSubscription
    payload: dict[str, JsonValue] | str = Field(
        description=f"An object, sent as JSON, or text: at most {MAX_MESSAGE_BYTES} bytes."
    )
    ttl: int = Field(86_400, ge=0, le=MAX_TTL, description="How long the push service keeps it, in seconds.")
    urgency: Literal["very-low", "low", "normal", "high"] = "normal"
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")] | None = Field(
        None, description="Replaces a message with the same topic that is not delivered yet."
    )


class SubscriptionGone(Unrecoverable):
    """The browser has withdrawn its subscription: forget it."""


def sign_in(endpoint: str, settings: JobSettings) -> str:
    """The ``Authorization`` header for the push service of ``endpoint``."""
    if settings.vapid_private_key is None or settings.vapid_subject is None:
        raise Unrecoverable("there is no key to sign with: set BACKROOM_VAPID_PRIVATE_KEY and BACKROOM_VAPID_SUBJECT")
    try:
        key = VapidKey.from_text(settings.vapid_private_key.get_secret_value())
    except InvalidKey as error:
        raise Unrecoverable(f"BACKROOM_VAPID_PRIVATE_KEY {error}") from error
    return key.authorization(audience=origin(endpoint), subject=settings.vapid_subject)


@job("send-push", queue="push", attempts=5, backoff=Exponential(10, jitter=0.5), timeout=60)
def send_push(data: SendPush) -> dict[str, Any]:
    """Send a Web Push message to one browser.

    A push service that asks for patience (429 or 503 with Retry-After) is obeyed. A subscription it no longer knows
    (404, 410) fails the job at once with `SubscriptionGone`.
    """
    settings = get_job_settings()
    endpoint = data.subscription.endpoint
    text = data.payload if isinstance(data.payload, str) else json.dumps(data.payload, separators=(",", ":"))
    with unrecoverable(ValueError):  # a key that is none, a message that is too long
        body = encrypt(text.encode(), p256dh=data.subscription.keys.p256dh, auth=data.subscription.keys.auth)
    headers = {
        "Authorization": sign_in(endpoint, settings),
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(data.ttl),
        "Urgency": data.urgency,
    }
    if data.topic is not None:
        headers["Topic"] = data.topic
    with outbound(settings) as client:
        response = client.post(endpoint, body, headers)
    if response.status in {404, 410}:
        raise SubscriptionGone(f"subscription gone: {origin(endpoint)} answered {response.status}")
    check_status(response)
    # The endpoint itself is a secret: whoever knows it can send to it. Its origin is not.
    log.info("%s took the message", origin(endpoint))
    return {"status": response.status, "service": origin(endpoint), "message": response.headers.get("Location")}
