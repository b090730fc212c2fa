"""Submitting jobs."""

from collections.abc import Sequence
from typing import Any, Final

from backroom.model.errors import QueueFull, StoreUnavailable
from backroom.model.job import NewJob, Submitted, compact_json
from backroom.model.options import Keep
from backroom.model.states import State
from backroom.model.webhooks import WebhookOption
from backroom.store.connection import KeptConnections
from backroom.store.gathering import Gathering
from backroom.store.part import Part
from backroom.store.scripts import pack

__all__ = ["MAX_SUBMITTED_AT_ONCE", "Submission", "record_of"]

#: Bounds the time that one call holds Redis.
MAX_SUBMITTED_AT_ONCE = 1000
_STATES: Final = {str(state): state for state in State}
#: Jobs with more data than this, in characters, travel alone.
MAX_GATHERED_DATA = 8192


def _keep(wish: Keep | None) -> str | None:
    """A retention wish as `scripts/shared/finish.lua` reads it."""
    if wish is None:
        return None
    if isinstance(wish, bool):
        return "0" if wish else "1"
    return f"{'' if wish.age is None else wish.age}:{'' if wish.count is None else wish.count}"


def _hook(webhook: WebhookOption | None) -> str | None:
    """A webhook as `scripts/shared/events.lua` reads it: ``' event event url'``."""
    return None if webhook is None else f" {' '.join(webhook.events)} {webhook.url}"


def record_of(job: NewJob) -> dict[str, Any]:
    """The job as `scripts/submit.lua` takes it."""
    options = job.options
    record: dict[str, Any] = {"id": job.id, "name": job.name, "queue": job.queue, "data": job.data}
    given = options.model_fields_set
    if given:
        optional = {
            "priority": options.priority,
            "lifo": options.lifo or None,
            "delay": options.delay,
            "runAt": options.run_at_ms(),
            "attempts": options.attempts,
            "maxStalled": options.max_stalled,
            "ttl": options.ttl,
            "keepC": _keep(options.remove_on_complete),
            "keepF": _keep(options.remove_on_fail),
            "tags": options.tags or None,
            "options": compact_json(options.to_dict()),
            "hook": _hook(options.webhook),
        }
        record.update({name: value for name, value in optional.items() if value is not None})
    if job.user_id is not None:
        record["user"] = job.user_id
    if job.traceparent is not None:
        record["trace"] = job.traceparent
    if job.request_id is not None:
        record["request"] = job.request_id
    if job.celery is not None:
        record["celery"] = job.celery
    return record


class Submission(Part):
    """The clerk who puts work in the inbox."""

    def __init__(self, *parts: Any) -> None:
        """``parts``: see `backroom.store.part.Part`."""
        super().__init__(*parts)
        self._kept = KeptConnections(self._redis)
        self._gathered = Gathering(self._submit_each)

    def submit(self, jobs: Sequence[NewJob], *, once: str = "") -> list[Submitted]:
        """Store 1 to 1000 jobs in one atomic call, all or none; answers in their order.

        A job whose id is in use is not stored; its answer has ``duplicate`` set and the state of the job that has the
        id. Raises `QueueFull`, `StoreFull` and `StoreUnavailable`; after the last one the jobs may be stored all the
        same when the answer was lost, and submitting the same ids again is safe.

        ``once`` is the name of a claim (see `backroom.store.idempotency`): what was submitted under it is answered
        again, and nothing is stored, even if those jobs have been removed since.

        Single jobs that several threads submit at the same time are stored in one call; each has an answer of its own.
        """
        if not 1 <= len(jobs) <= MAX_SUBMITTED_AT_ONCE:
            raise ValueError(f"submit takes 1 to {MAX_SUBMITTED_AT_ONCE} jobs at once, not {len(jobs)}")
        if len(jobs) == 1 and not once and len(jobs[0].data) <= MAX_GATHERED_DATA:
            return [self._gathered(jobs[0])]
        return self._submit(jobs, once)

    def _submit_each(self, jobs: Sequence[NewJob]) -> Sequence[Submitted | BaseException]:
        """Jobs that have nothing to do with each other: when one is refused, the others are not.

        Raises `StoreUnavailable`, which concerns all.
        """
        try:
            return self._submit(jobs)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised again, in the job's own thread
            if len(jobs) == 1:
                return [error]
        answers: list[Submitted | BaseException] = []
        for job in jobs:
            try:
                answers += self._submit([job])
            except StoreUnavailable as error:  # the others need not wait for the same, one after the other
                return [*answers, *[error] * (len(jobs) - len(answers))]
            except Exception as error:  # noqa: BLE001 - as above
                answers.append(error)
        return answers

    def _submit(self, jobs: Sequence[NewJob], once: str = "") -> list[Submitted]:
        answer = self._run("submit", pack([record_of(job) for job in jobs]), once, redis=self._kept)
        if answer[0] == "full":
            raise QueueFull(answer[1], int(answer[2]))
        at, of_jobs = int(answer[1]), zip(jobs, answer[2::3], answer[3::3], answer[4::3], strict=True)
        return [
            # An id that we made can only be in use because this very call was sent twice over a broken connection.
            Submitted(job.id, _STATES[state], bool(duplicate) and job.options.job_id is not None, at, bool(held))
            for job, state, duplicate, held in of_jobs
        ]
