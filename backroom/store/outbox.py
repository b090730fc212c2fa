"""The outbox: what webhooks are to tell, and how it becomes deliveries.

The scripts that move jobs put notices into a stream, in the same step, so that none is lost by a crash and none is
written where nobody asks to be told (see `scripts/shared/events.lua`). Whoever does the upkeep makes deliveries of
them: each is a job of the internal queue, which any worker runs. Notices leave the stream in the step that stores these
jobs, and ids follow from the notice, so that nothing is told twice however many do this at once.
"""

import hashlib
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from backroom.model.job import DELIVER_WEBHOOK, INTERNAL_QUEUE, compact_json, format_time, job_links, new_job
from backroom.model.names import new_id
from backroom.model.options import JobOptions
from backroom.settings import Settings
from backroom.store.connection import store_errors
from backroom.store.keys import Keys
from backroom.store.part import Part
from backroom.store.records import from_ms, job_from_record
from backroom.store.scripts import ScriptRunner, pack
from backroom.store.submission import record_of
from backroom.store.webhooks import OWN, Webhooks

__all__ = ["NOTICES_AT_ONCE", "Outbox", "delivery_job"]

logger = logging.getLogger(__name__)

#: Bounds on one step, which holds Redis for a few ms at most.
NOTICES_AT_ONCE = 20
FORGOTTEN_AT_ONCE = 100
#: A worker that dies is no fault of the delivery it had in hand.
_MAX_STALLED = 1000

Notice = Mapping[str, str]


def delivery_job(
    delivery_id: str, settings: Settings, *, trace: str | None = None, request_id: str | None = None
) -> dict[str, Any]:
    """The job of a delivery, which has its id, as `scripts/submit.lua` takes it."""
    options = JobOptions(
        job_id=delivery_id,
        attempts=len(settings.webhook_retry_seconds) + 1,
        # Well above what the call itself may take: this is for a receiver that drips its answer for ever.
        timeout=round(settings.webhook_timeout_seconds * 4000) + 10_000,
        max_stalled=_MAX_STALLED,
        remove_on_complete=True,
        remove_on_fail=True,
    )
    job = new_job(
        name=DELIVER_WEBHOOK,
        queue=INTERNAL_QUEUE,
        data={"delivery": delivery_id},
        options=options,
        traceparent=trace,
        request_id=request_id,
    )
    return record_of(job)


class Outbox(Part):
    """Any number of processes may do this at once."""

    def __init__(self, redis: Redis, keys: Keys, scripts: ScriptRunner, *, settings: Settings) -> None:
        super().__init__(redis, keys, scripts)
        self._settings = settings
        self._webhooks = Webhooks(redis, keys, scripts)

    def dispatch(self) -> bool:
        """Make deliveries of some notices, and forget some old deliveries. True: there may be more to do."""
        rows = self._run("notices", NOTICES_AT_ONCE, FORGOTTEN_AT_ONCE)
        if not rows:
            return False
        seed = self._seed()
        endpoints = [(view.id, view.events) for view in self._webhooks.list() if view.disabled_reason is None]
        notices = []
        for entry_id, words in rows:
            notice = dict(zip(words[::2], words[1::2], strict=True))
            try:
                deliveries = list(self._deliveries(entry_id, notice, endpoints, seed))
            except Exception:  # it must not hold up all others for ever
                logger.exception("a notice about job %s could not be read, and is not told", notice.get("job"))
                deliveries = []
            notices.append((entry_id, deliveries))
        made, dropped = self._run("dispatch", pack(notices), self._settings.webhook_max_pending)
        if dropped:
            most = self._settings.webhook_max_pending
            logger.warning("%d notices of webhooks were dropped: more than %d deliveries are pending", dropped, most)
        logger.debug("%d deliveries of webhooks made", made)
        return len(rows) == NOTICES_AT_ONCE

    def _seed(self) -> str:
        """What makes this stack's ids its own; made once."""
        key = self._keys.webhook(OWN)
        with store_errors():
            if not self._redis.hexists(key, "seed"):  # a full store takes no write that it could do without
                self._redis.hsetnx(key, "seed", secrets.token_hex(16))
            return str(self._redis.hget(key, "seed"))

    def _deliveries(
        self, entry_id: str, notice: Notice, endpoints: Sequence[tuple[str, Sequence[str]]], seed: str
    ) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
        """Webhook, fields and values of the delivery, and its job, for each who is to be told."""
        event = notice["event"]
        told = [(webhook, "") for webhook, events in endpoints if notice["theirs"] and event in events]
        if notice["url"]:
            told.append((OWN, notice["url"]))
        if not told:
            return
        body = _body(entry_id, notice)
        trace, request = notice.get("trace"), notice.get("request")
        for webhook, url in told:
            delivery_id = _id_of(seed, entry_id, webhook)
            fields = {
                "url": url,
                "lane": _lane_of(url) if webhook == OWN else webhook,
                "event": event,
                "job": notice["job"],
                "message": "msg_" + _id_of(seed, entry_id, "").replace("-", ""),
                "at": entry_id.partition("-")[0],
                "body": body,
                "trace": trace,
                "request": request,
            }
            words = [word for name, value in fields.items() if value is not None for word in (name, value)]
            yield webhook, words, delivery_job(delivery_id, self._settings, trace=trace, request_id=request)


def _id_of(seed: str, entry_id: str, webhook: str) -> str:
    """The id of a delivery, or (of no webhook) of the message: the same whoever makes it, and no other stack's."""
    digits = hashlib.sha256(f"{seed}/{entry_id}/{webhook}".encode()).hexdigest()
    milliseconds = int(entry_id.partition("-")[0])
    return new_id(milliseconds=milliseconds, digits=digits)


def _lane_of(url: str) -> str:
    """The name of the receiver: of all addresses with the same scheme, host and port. No endpoint has one like it."""
    parts = urlsplit(url)
    return "own-" + hashlib.sha256(f"{parts.scheme}://{parts.netloc.lower()}".encode()).hexdigest()[:32]


def _body(entry_id: str, notice: Notice) -> str:
    """The body of the message: ``{type, timestamp, data}``, the data being the job as it was at the event."""
    job_id, omitted = notice["job"], notice["omitted"].split()
    job = job_from_record(job_id, {"data": "null", **notice}, None)
    data = {**job.to_dict(), "links": job_links(job_id)}
    if omitted:  # too large for a message: these are null in it, and can be read at the links
        data["omitted"] = omitted
    at = format_time(from_ms(entry_id.partition("-")[0]))
    return compact_json({"type": f"job.{notice['event']}", "timestamp": at, "data": data})
