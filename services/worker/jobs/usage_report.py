"""``usage-report``: a PDF of what the stack did for a user in a month, sent by mail or announced by push."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from backroom import Exponential, current_job, job
from backroom.engine.app import current_store
from backroom.model.errors import TooLarge
from backroom.model.job import Job
from backroom.model.states import State
from backroom.store import JobQuery, Store
from services.worker.jobs.send_email import EmailAddress, SendEmail, send_email
from services.worker.jobs.send_push import PushSubscription, SendPush, send_push
from services.worker.support.artifacts import ArtifactStore
from services.worker.support.data import JobData, UserId
from services.worker.support.endings import follow_up_id, unrecoverable
from services.worker.support.settings import get_job_settings

log = logging.getLogger(__name__)

PAGE = 200


class Notify(JobData):
    """Who is told when the report is ready."""

    email: EmailAddress | None = None
    push_subscription: PushSubscription | None = None


class UsageReport(JobData):
    """Whose report, of which month, and who gets it."""

    user_id: UserId
    month: Annotated[str, Field(pattern=r"^(19|20)\d\d-(0[1-9]|1[0-2])$")] | None = Field(
        None, description="As 2030-01, in UTC. Left out: the current month so far."
    )
    notify: Notify = Notify()


@dataclass(frozen=True, slots=True)
class History:
    """The jobs of a user in a month, newest first."""

    user_id: str
    month: str
    jobs: Sequence[Job]
    #: There are more than were read.
    truncated: bool


def bounds(month: str) -> tuple[datetime, datetime]:
    """The first moment of ``month`` (``2030-01``) and that of the next, in UTC."""
    year, number = int(month[:4]), int(month[5:])
    return datetime(year, number, 1, tzinfo=UTC), datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def read_history(store: Store, user_id: str, month: str, limit: int) -> History:
    """Read the newest ``limit`` jobs of a user in a month, page by page; progress goes up to 60 %."""
    start, end = bounds(month)
    jobs: list[Job] = []
    cursor: str | None = None
    while True:
        page = store.listing.page(
            JobQuery(user_ids=(user_id,), from_=start, to=end, limit=min(PAGE, limit - len(jobs)), cursor=cursor)
        )
        jobs += page.jobs
        cursor = page.next
        if cursor is None or len(jobs) >= limit:
            return History(user_id, month, jobs, truncated=cursor is not None)
        current_job.progress(60 * len(jobs) / limit, f"read {len(jobs)} jobs")


def render_pdf(history: History, now: datetime) -> bytes:
    """The report: counts by job type and state, and the jobs themselves."""
    # Here, because importing reportlab takes a third of a second, and only workers that make a report need it.
    from services.worker.support.usage_pdf import Table, render  # noqa: PLC0415 - see above

    by_name: dict[str, Counter[State]] = {}
    milliseconds: Counter[str] = Counter()
    for each in history.jobs:
        by_name.setdefault(each.name, Counter())[each.state] += 1
        milliseconds[each.name] += each.run_ms or 0
    summary = Table(
        heading="Jobs by type",
        columns=("Type", "Jobs", "Completed", "Failed", "Other", "Run time"),
        rows=[
            (
                name,
                str(states.total()),
                str(states[State.COMPLETED]),
                str(states[State.FAILED]),
                str(states.total() - states[State.COMPLETED] - states[State.FAILED]),
                f"{milliseconds[name] / 1000:.1f} s",
            )
            for name, states in sorted(by_name.items())
        ],
        numbers_from=1,
    )
    details = Table(
        heading="Jobs, newest first",
        columns=("Created (UTC)", "Type", "Id", "State", "Run time"),
        rows=[
            (
                f"{each.created_at:%Y-%m-%d %H:%M:%S}",
                each.name,
                each.id,
                str(each.state),
                "" if each.run_ms is None else f"{each.run_ms / 1000:.1f} s",
            )
            for each in history.jobs
        ],
        numbers_from=4,
    )
    lines = [
        f"User: {history.user_id}",
        f"Jobs: {len(history.jobs)}" + (" (the newest; there are more)" if history.truncated else ""),
        f"Made: {now:%Y-%m-%d %H:%M} UTC",
    ]
    return render(title=f"Usage in {history.month}", lines=lines, tables=[summary, details])


def announce(data: UsageReport, month: str, artifact: str) -> dict[str, str]:
    """Submit the jobs that tell about the report; the answer has their ids by job type."""
    submitted: dict[str, str] = {}
    words = f"Your usage report for {month} is ready."
    if data.notify.email is not None:
        mail = SendEmail(
            to=(data.notify.email,), subject=f"Usage report {month}", text=words + "\n", attachments=(artifact,)
        )
        submitted["send-email"] = follow_up_id(current_job.id, "email")
        send_email.apply_async((mail,), task_id=submitted["send-email"])
    if data.notify.push_subscription is not None:
        push = SendPush(
            subscription=data.notify.push_subscription,
            payload={"title": "Usage report", "body": words, "artifact": artifact},
        )
        submitted["send-push"] = follow_up_id(current_job.id, "push")
        send_push.apply_async((push,), task_id=submitted["send-push"])
    return submitted


@job("usage-report", queue="reports", attempts=5, backoff=Exponential(5, jitter=0.5), timeout=300)
def usage_report(data: UsageReport) -> dict[str, Any]:
    """Make a PDF of a user's jobs in a month, store it as an artifact, and submit the mail or push that says so."""
    now = datetime.now(UTC)
    month = data.month or f"{now:%Y-%m}"
    history = read_history(current_store(), data.user_id, month, get_job_settings().report_max_jobs)
    pdf = render_pdf(history, now)
    current_job.progress(80, "rendered")
    with unrecoverable(TooLarge):
        artifact = ArtifactStore.from_settings().write(f"usage-report-{current_job.id}.pdf", pdf)
    log.info("stored %s: %d jobs, %d bytes", artifact.name, len(history.jobs), artifact.size)
    return {
        "userId": data.user_id,
        "month": month,
        "jobs": len(history.jobs),
        "truncated": history.truncated,
        "artifact": artifact.name,
        "bytes": artifact.size,
        "notified": announce(data, month, artifact.name),
    }
