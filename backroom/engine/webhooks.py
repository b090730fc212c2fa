"""Delivers webhooks: the one job type that every worker has, whatever its application.

A delivery is tried as Standard Webhooks advises: 2xx is a success and everything else a failure, redirects are not
followed, the pauses between tries grow over days, ``Retry-After`` is heeded, and 410 disables the endpoint. Each try is
kept with the delivery before the job ends, so that one whose worker dies in between is not sent again in vain.
"""

import logging
import random
import time
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from backroom.engine.app import current_store
from backroom.engine.current import running_job
from backroom.engine.jobs import job
from backroom.model.control import Unrecoverable
from backroom.model.errors import NotFound
from backroom.model.job import DELIVER_WEBHOOK, INTERNAL_QUEUE
from backroom.model.webhooks import signature
from backroom.outbound import AddressRefused, CallFailed, NetworkPolicy, NotCallable, Outbound, origin, retry_after
from backroom.settings import Settings, get_settings
from backroom.store import Store
from backroom.store.deliveries import Parcel, Try

__all__ = ["deliver_webhook"]

logger = logging.getLogger(__name__)

#: Pauses are lengthened at random by up to this part of them, so that what failed together does not return together.
JITTER: Final = 0.2
#: Longer errors are cut, in characters.
_LONGEST_ERROR: Final = 500
_OK: Final = range(200, 300)
_GONE: Final = 410
_REASONS: Final = {
    "gone": "it answered 410",
    "failing": "every try has failed for BACKROOM_WEBHOOK_DISABLE_AFTER_SECONDS",
}


class _NotDelivered(Exception):
    """A try has failed; another follows after ``pause`` seconds."""

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message)
        self.pause = pause


def _pause(attempt: int, error: BaseException) -> float:
    """The backoff of the job type: what the try has said, or the schedule where it could say nothing."""
    return error.pause if isinstance(error, _NotDelivered) else _scheduled(attempt, get_settings())


def _scheduled(attempt: int, settings: Settings) -> float:
    """Seconds to wait after the ``attempt``-th try (1 first)."""
    pauses = settings.webhook_retry_seconds
    pause = pauses[min(attempt, len(pauses)) - 1] if pauses else 0
    return pause * (1 + random.uniform(0, JITTER))  # noqa: S311 - spreads tries, no secret


@job(DELIVER_WEBHOOK, queue=INTERNAL_QUEUE, backoff=_pause)
def deliver_webhook(data: dict[str, Any]) -> None:
    """Make a try to deliver a webhook."""
    store, settings = current_store(), get_settings()
    try:
        parcel = store.deliveries.parcel(data["delivery"])
    except NotFound as error:
        raise Unrecoverable(f"{error} It has been removed, or its endpoint has.") from error
    if parcel.state == "delivered":
        return  # by a try whose worker died before it could say so
    _Attempt(store, settings, data["delivery"], parcel).make()


class _Attempt:
    """One try to deliver."""

    def __init__(self, store: Store, settings: Settings, delivery_id: str, parcel: Parcel) -> None:
        self._store, self._settings, self._id, self._parcel = store, settings, delivery_id, parcel
        self._at, self._began = time.time(), time.perf_counter()

    def make(self) -> None:
        """Call the receiver, and keep how it went. Raises what the job ends in, unless it was delivered."""
        parcel = self._parcel
        if parcel.refused is not None:
            self._give_up(None, parcel.refused)
        try:
            with self._client() as client:
                response = client.post(parcel.url, parcel.body, self._headers(), read=False)
        except (AddressRefused, NotCallable) as error:
            self._give_up(None, str(error))
        except CallFailed as error:
            self._try_again(None, str(error), 0.0)
        if response.status in _OK:
            self._record("delivered", response.status, None)
            return
        if response.status == _GONE:
            self._give_up(_GONE, "answered 410: it wants no more messages", disable="gone")
        asked = retry_after(response.headers, datetime.now(UTC)) or 0.0
        self._try_again(response.status, f"answered {response.status}", asked)

    def _client(self) -> Outbound:
        settings = self._settings
        policy = NetworkPolicy(settings.webhook_allowed_networks, setting="BACKROOM_WEBHOOK_ALLOWED_NETWORKS")
        return Outbound(policy=policy, timeout=settings.webhook_timeout_seconds, ca_file=settings.webhook_ca_file)

    def _headers(self) -> dict[str, str]:
        parcel, timestamp = self._parcel, int(self._at)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": parcel.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(
                parcel.secrets, message_id=parcel.message_id, timestamp=timestamp, body=parcel.body
            ),
        }
        if parcel.traceparent:
            headers["traceparent"] = parcel.traceparent
        if parcel.request_id:
            headers["X-Request-Id"] = parcel.request_id
        return headers

    def _try_again(self, status: int | None, error: str, asked: float) -> NoReturn:
        """The try has failed; the receiver wants to be left alone for ``asked`` seconds."""
        running = running_job()
        attempt = 1 if running is None else running.attempt
        attempts = 1 if running is None else int(running.options.get("attempts", 1))
        if attempt >= attempts:
            self._give_up(status, error)
        pause = max(_scheduled(attempt, self._settings), asked)
        self._record("pending", status, error, pause=pause)
        raise _NotDelivered(error, pause)

    def _give_up(self, status: int | None, error: str, *, disable: str | None = None) -> NoReturn:
        self._record("failed", status, error, disable=disable)
        raise Unrecoverable(error)

    def _record(
        self,
        state: Any,
        status: int | None,
        error: str | None,
        *,
        pause: float | None = None,
        disable: str | None = None,
    ) -> None:
        """Keep how the try went, with the delivery and in the log of the worker."""
        parcel, milliseconds = self._parcel, round((time.perf_counter() - self._began) * 1000)
        error = None if error is None else error[:_LONGEST_ERROR]
        next_at = None if pause is None else round((time.time() + pause) * 1000)
        tried = Try(at=round(self._at * 1000), status=status, duration_ms=milliseconds, error=error)
        reason = self._store.deliveries.record(self._id, tried, state, url=parcel.url, next_at=next_at, disable=disable)
        logger.log(
            logging.INFO if state == "delivered" else logging.WARNING,
            "webhook %s (job.%s of job %s) to %s: %s in %d ms%s",
            parcel.message_id,
            parcel.event,
            parcel.job_id,
            _where(parcel.url),
            state if error is None else f"{state}, {error}",
            milliseconds,
            "" if pause is None else f", again in {pause:.0f} s",
        )
        if reason is not None:
            logger.warning("endpoint %s at %s is disabled: %s", parcel.endpoint, _where(parcel.url), _REASONS[reason])


def _where(url: str) -> str:
    """The receiver without the path, which may hold a secret."""
    try:
        return origin(url)
    except NotCallable:
        return "an address that cannot be called"
