"""The client of a stack."""

from __future__ import annotations

import math
import uuid
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from backroom.client.answers.access import AuditEntry
from backroom.client.answers.jobs import Job, LogLine, Submitted
from backroom.client.answers.stack import JobType, Stats
from backroom.client.bulk import BulkActions
from backroom.client.channel import Channel, Query, path_to
from backroom.client.errors import Conflict, JobFailed, Unavailable, WaitTimeout
from backroom.client.keys import Keys
from backroom.client.options import NewJob, Options, data_json, milliseconds, options_json, time_json
from backroom.client.pages import MAX_PAGE, pages
from backroom.client.queues import Queues
from backroom.client.retrying import RetryPolicy
from backroom.client.schedules import Schedules
from backroom.client.streams import EventStream
from backroom.client.webhooks import Webhooks
from backroom.client.workers import Workers
from backroom.model.backoff import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime
    from types import TracebackType

    from backroom.client.answers.fields import Raw
    from backroom.client.options import Duration
    from backroom.model.states import State

__all__ = ["DEFAULT_URL", "Backroom"]

DEFAULT_URL: Final = "http://127.0.0.1:8000"
POLL_SECONDS: Final = 30
"""One long poll lasts so long at most: proxies commonly cut connections that are silent for a minute."""
GLANCE_SECONDS: Final = 1
"""The same where somebody wants to see the job on its way."""
_ACCEPTED: Final = 202
_ENDINGS: Final = frozenset({"completed", "failed", "cancelled", "expired", "removed"})
_LEFT_OUT: Final[Any] = object()


class Backroom:
    """A stack, over HTTP. A context manager; may be used by several threads.

    Durations are seconds, or a `timedelta`. Every call raises `BackroomAPIError` where the API refuses, and
    `Unreachable` where nobody answers. A request is sent again, with growing pauses, where that is safe: after
    connections that broke and after 429, 502, 503 and 504. Submissions carry an idempotency key of their own, so that
    one that is sent again never makes two jobs.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        timeout: Duration = 10.0,
        retries: int | RetryPolicy = 4,
    ) -> None:
        """Connect to nothing yet.

        ``url``: the address of the API, with a path where a proxy puts it below one. ``key``: an API key; None for a
        stack without keys. ``timeout``: how long one request may take, beyond what it asks the server to wait.
        ``retries``: how often one is sent again. Raises `ValueError` for an address that is none.
        """
        policy = retries if isinstance(retries, RetryPolicy) else RetryPolicy(retries=retries)
        self._channel = Channel(url, key, timeout=seconds_of(timeout), policy=policy)
        self.queues = Queues(self._channel)
        self.bulk = BulkActions(self._channel)
        self.schedules = Schedules(self._channel)
        self.workers = Workers(self._channel)
        self.keys = Keys(self._channel)
        self.webhooks = Webhooks(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._channel.close()

    # Submitting.

    def submit(
        self,
        name: str,
        data: object = _LEFT_OUT,
        *,
        queue: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        wait: Duration | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Submit a job; with ``wait``, see it through for up to so many seconds.

        ``data``: any JSON value or a pydantic model; an empty object if left out. ``queue``: that of the job type if
        left out. ``options``: see `Options`. ``idempotency_key``: one of your own makes a later, separate call with the
        same key, within 24 h, answer this job. Raises `InvalidInput`, and `WaitTimeout` when the time is up; the job is
        stored then all the same, and is the error's ``job``.
        """
        body = NewJob(name, {} if data is _LEFT_OUT else data, queue, options).to_json()
        headers = _submit_headers(idempotency_key, traceparent)
        return self._submitted("/v1/jobs", body, headers, wait)

    def enqueue(
        self,
        user_id: str,
        payload: object = None,
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        wait: Duration | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Submit a ``heavy-task`` for a user, by the quick door; the rest is as with `submit`."""
        body: dict[str, object] = {"userId": user_id, "payload": {} if payload is None else data_json(payload)}
        if options:
            body["options"] = options_json(options)
        headers = _submit_headers(idempotency_key, traceparent)
        return self._submitted("/jobs/enqueue", body, headers, wait)

    def submit_many(
        self, jobs: Iterable[NewJob], *, idempotency_key: str | None = None, traceparent: str | None = None
    ) -> list[Submitted]:
        """Submit 1 to 1000 jobs together, all or none; the answers are in the same order.

        Raises `InvalidInput` with pointers such as ``/jobs/1/options/priority``, and nothing is stored.
        """
        body = {"jobs": [job.to_json() for job in jobs]}
        headers = _submit_headers(idempotency_key, traceparent)
        answer = self._channel.call("POST", "/v1/jobs/bulk", body=body, headers=headers)
        return answer.read(lambda raw: [Submitted.from_json(each) for each in raw["jobs"]])

    def _submitted(self, path: str, body: object, headers: dict[str, str], wait: Duration | None) -> Job:
        """Submit, then wait with a call of its own: so that a connection that breaks meanwhile costs nothing."""
        job = self._channel.call("POST", path, body=body, headers=headers).read(Job.from_json)
        return job if wait is None or job.finished else self.wait(job.id, wait)

    # Reading.

    def job(self, job_id: str) -> Job:
        """A job with all its tries. Raises `NotFound`."""
        return self._look(job_id)

    def jobs(
        self,
        *,
        queue: str | Sequence[str] = (),
        state: State | str | Sequence[State | str] = (),
        name: str | Sequence[str] = (),
        tag: str | Sequence[str] = (),
        user_id: str | Sequence[str] = (),
        q: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        sort: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Jobs, newest first, fetched page by page as they are asked for; ``limit`` of them at most.

        Several values of one filter mean "or", several filters "and". ``q``: an id, or words in the error, the name or
        a tag. ``since`` and ``before`` are about the creation. ``sort``: ``createdAt``, or with a state ``finishedAt``,
        ``runAt`` or ``priority``; a minus in front turns it round. Raises `InvalidInput`.
        """
        query: dict[str, str | int | Sequence[str]] = {
            "queue": _several(queue),
            "state": _several(state),
            "name": _several(name),
            "tag": _several(tag),
            "userId": _several(user_id),
            "limit": MAX_PAGE if limit is None else max(1, min(limit, MAX_PAGE)),
        }
        single = {
            "q": q,
            "from": None if since is None else time_json(since),
            "to": None if before is None else time_json(before),
            "sort": sort,
        }
        query |= {word: value for word, value in single.items() if value is not None}
        return islice(pages(self._channel, "/v1/jobs", "jobs", Job.from_json, query), limit)

    def wait(self, job_id: str, timeout: Duration | None = None, *, report: Callable[[Job], None] | None = None) -> Job:
        """Wait until a job has finished, well or badly, and return it; for ever if ``timeout`` is None.

        The server holds each request until the job has finished (long polling); it is asked anew when it does not, and
        when a connection breaks. ``report`` is called with the job about every second. Raises `WaitTimeout`, and
        `NotFound` for a job that is not there, or is removed when it completes.
        """
        clock = self._channel.policy.clock
        seconds = math.inf if timeout is None else seconds_of(timeout)
        until = clock() + seconds
        longest = POLL_SECONDS if report is None else GLANCE_SECONDS
        while True:
            job = self._poll(job_id, math.ceil(min(longest, max(0.0, until - clock()))), until)
            if report is not None:
                report(job)
            if job.finished:
                return job
            if clock() >= until:
                raise WaitTimeout(job, seconds)

    def _poll(self, job_id: str, seconds: int, until: float | None = None) -> Job:
        """The job when it has finished, at the latest after about so many seconds."""
        policy = self._channel.policy
        began = policy.clock()
        try:
            job = self._look(job_id, wait=seconds, until=until)
        except Unavailable as error:
            if error.code != "too-many-waits":
                raise
            job = self._look(job_id, until=until)
        early = seconds - (policy.clock() - began)
        if not job.finished and early > GLANCE_SECONDS / 2:  # it holds no requests just now: do not storm it
            policy.sleep(min(early, GLANCE_SECONDS))
        return job

    def _look(self, job_id: str, *, wait: int | None = None, until: float | None = None) -> Job:
        headers = {} if wait is None else {"Prefer": f"wait={wait}"}
        answer = self._channel.call(
            "GET", path_to("v1", "jobs", job_id), headers=headers, patience=wait or 0.0, until=until
        )
        return answer.read(lambda raw: Job.from_json(raw, answer.headers.get("ETag")))

    def result(self, job_id: str, timeout: Duration | None = 0) -> Any:
        """What a job has returned: any JSON value.

        Does not wait, unless ``timeout`` is given: seconds, or None for ever. Raises `JobFailed` if it failed, was
        cancelled or expired, `WaitTimeout` if it has not finished, `NotFound`.
        """
        if timeout != 0:
            self.wait(job_id, timeout)
        try:
            answer = self._channel.call("GET", path_to("v1", "jobs", job_id, "result"))
        except Conflict:
            raise JobFailed(self.job(job_id)) from None
        if answer.status == _ACCEPTED:
            raise WaitTimeout(self.job(job_id), 0)
        return answer.json()

    def logs(self, job_id: str, *, follow: bool = False) -> Iterator[LogLine]:
        """What a job has logged, oldest first; with ``follow``, also what it logs from now on until it has finished.

        Raises `NotFound`.
        """
        path, after = path_to("v1", "jobs", job_id, "logs"), 0
        finished = not follow or self.job(job_id).finished
        while True:
            more: int | None = after
            while more is not None:
                page = self._channel.call("GET", path, query={"after": more, "limit": MAX_PAGE})
                lines, more = page.read(lambda raw: ([LogLine.from_json(each) for each in raw["logs"]], raw["next"]))
                yield from lines
                after = lines[-1].seq if lines else after
            if finished:
                return
            finished = self._poll(job_id, GLANCE_SECONDS).finished

    def events(
        self,
        *,
        job: str | None = None,
        queue: str | Sequence[str] = (),
        types: str | Sequence[str] = (),
        last_event_id: str | None = None,
        outage: Duration = 300,
    ) -> EventStream:
        """Events as they happen, from now on or from behind ``last_event_id``.

        Those of a ``job`` begin with the state it is in, and end with the job. ``queue`` and ``types`` choose among
        them; a queue and a job exclude each other. When a connection ends, the stream goes on in another one behind the
        last event; `Unreachable` is raised when that does not work for ``outage`` seconds. An event of the type
        ``reset`` says that some were missed.
        """
        kinds = _several(types)
        query: Query = {}
        if job is None:
            path, query = "/v1/events", {"queue": _several(queue), "type": kinds}
        elif queue:
            raise ValueError("a job is in one queue: give job or queue, not both")
        else:
            path = path_to("v1", "jobs", job, "events")
        return EventStream(
            self._channel,
            path,
            query=query,
            last_event_id=last_event_id,
            outage=seconds_of(outage),
            wanted=lambda event: not kinds or event.type in kinds or event.type == "reset",
            is_last=lambda event: job is not None and event.type in _ENDINGS,
        )

    def job_types(self) -> list[JobType]:
        """What workers offer, by name, with the JSON Schema of each type's data."""
        answer = self._channel.call("GET", "/v1/job-types")
        return answer.read(lambda raw: [JobType.from_json(each) for each in raw["jobTypes"]])

    def stats(self) -> Stats:
        """The stack in a few numbers."""
        return self._channel.call("GET", "/v1/stats").read(Stats.from_json)

    def audit(
        self,
        *,
        actor: str | Sequence[str] = (),
        action: str | Sequence[str] = (),
        outcome: str | None = None,
        limit: int | None = None,
    ) -> Iterator[AuditEntry]:
        """Who did what, newest first, fetched page by page as it is asked for; ``limit`` entries at most.

        ``actor``: names of keys. ``action``: in the API's words, such as ``pause_queue``. ``outcome``: ``done`` or
        ``refused``. Needs an admin key.
        """
        query: dict[str, str | int | Sequence[str]] = {
            "actor": _several(actor),
            "action": _several(action),
            "limit": MAX_PAGE if limit is None else max(1, min(limit, MAX_PAGE)),
        }
        if outcome is not None:
            query["outcome"] = outcome
        return islice(pages(self._channel, "/v1/audit", "entries", AuditEntry.from_json, query), limit)

    # Acting. Each raises `NotFound`, and `Conflict` where the job's state does not allow it.

    def cancel(self, job_id: str) -> Job:
        """Cancel a job. One that runs is stopped within seconds: it is still ``active`` in the answer then."""
        return self._act(job_id, "cancel")

    def retry(self, job_id: str, *, reset_attempts: bool = False) -> Job:
        """Run a finished job again: once more, or with ``reset_attempts`` with all its tries."""
        return self._act(job_id, "retry", {"resetAttempts": reset_attempts})

    def promote(self, job_id: str) -> Job:
        """Make a delayed job ready now."""
        return self._act(job_id, "promote")

    def reschedule(self, job_id: str, *, delay: Duration | None = None, run_at: datetime | None = None) -> Job:
        """Give a delayed job another due time: ``delay`` seconds from now, or ``run_at``."""
        if (delay is None) == (run_at is None):
            raise ValueError("give delay or run_at, one of them")
        body: dict[str, object] = {} if delay is None else {"delay": milliseconds(delay)}
        if run_at is not None:
            body["runAt"] = time_json(run_at)
        return self._act(job_id, "reschedule", body)

    def update(
        self,
        job_id: str,
        *,
        data: object = _LEFT_OUT,
        priority: int | None = None,
        tags: Sequence[str] | None = None,
        etag: str | None = None,
    ) -> Job:
        """Change a job that neither runs nor has finished; what is left out stays.

        With the ``etag`` of the job as you have read it, `PreconditionFailed` is raised if it has changed since;
        without one the change is made to the job as it is. Raises `InvalidInput`.
        """
        body: dict[str, object] = {} if data is _LEFT_OUT else {"data": data_json(data)}
        if priority is not None:
            body["priority"] = priority
        if tags is not None:
            body["tags"] = list(tags)
        answer = self._channel.call(
            "PATCH", path_to("v1", "jobs", job_id), body=body, headers={"If-Match": etag or "*"}, safe=etag is None
        )
        return answer.read(lambda raw: Job.from_json(raw, answer.headers.get("ETag")))

    def remove(self, job_id: str) -> None:
        """Remove a job that does not run, with its log and its result."""
        self._channel.call("DELETE", path_to("v1", "jobs", job_id)).confirm()

    def _act(self, job_id: str, verb: str, body: Raw | None = None) -> Job:
        return self._channel.call("POST", path_to("v1", "jobs", job_id, verb), body=body).read(Job.from_json)


def _submit_headers(idempotency_key: str | None, traceparent: str | None) -> dict[str, str]:
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return headers


def _several(values: str | Sequence[str]) -> Sequence[str]:
    """One value or several, as several."""
    return [str(values)] if isinstance(values, str) else [str(value) for value in values]
