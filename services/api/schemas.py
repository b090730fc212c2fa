"""The shapes of answers, as `openapi.json` describes them; what is sent comes from the model's ``to_dict``."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from backroom.model.options import JobOptions
from backroom.model.states import DeliveryState, State
from backroom.model.webhooks import WebhookEvent

__all__ = [
    "ApiKeyPage",
    "ApiKeyView",
    "AuditPage",
    "BulkAnswer",
    "DeliveryList",
    "DeliveryView",
    "HealthView",
    "JobPage",
    "JobTypeList",
    "JobView",
    "LogPageView",
    "NewApiKey",
    "NewWebhook",
    "PendingResult",
    "ProblemView",
    "QueueList",
    "QueueView",
    "Scaling",
    "SchedulePage",
    "ScheduleView",
    "SecretView",
    "SingleJob",
    "Stats",
    "SubmittedJob",
    "View",
    "WebhookList",
    "WebhookView",
    "WorkerList",
    "WorkerView",
]


class View(BaseModel):
    """The base of every shape: camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class FieldProblem(View):
    """One thing that is wrong with one field."""

    pointer: str = Field(description="JSON Pointer into the body; for a query parameter, '/' and its name.")
    code: str = Field(description="A stable word for programs.")
    message: str = Field(description="A sentence for people.")


class ProblemView(View):
    """An error (RFC 9457)."""

    type: str = Field(description="A URI that opens an explanation, relative to the API's address.")
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = Field(
        description="What is wrong, field by field, the first 100; empty where no field is to blame."
    )
    request_id: str


class StateReason(View):
    """Why a job does not run yet."""

    code: str
    until: datetime | None = None
    detail: str | None = None


class Progress(View):
    """How far a running job says it is."""

    percent: float | None
    message: str | None = None


class JobErrorView(View):
    """The newest failure."""

    type: str
    message: str
    traceback: str | None = None
    attempt: int | None = None
    at: datetime | None = None


class Attempt(View):
    """One try."""

    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    outcome: Literal["completed", "failed", "timeout", "stalled", "cancelled", "retry-after"]
    error: dict[str, Any] | None = None


class Links(View):
    """Where more about the job is."""

    self: str
    result: str
    logs: str
    events: str


class JobView(View):
    """A job."""

    id: str
    name: str
    queue: str
    state: State
    state_reason: StateReason | None
    data: Any
    options: JobOptions
    priority: int
    tags: list[str]
    attempts_made: int = Field(description="Tries that came to an outcome.")
    attempts: int = Field(description="Tries it may have.")
    stalled: int = Field(description="How often the process that ran it died.")
    progress: Progress | None
    result: Any
    error: JobErrorView | None
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    wait_ms: int | None = Field(description="From ready to started, of the newest try.")
    run_ms: int | None = Field(description="From started to finished, of the newest try.")
    worker: str | None
    trace_id: str | None
    links: Links


class SubmittedJob(JobView):
    """A job as it is answered to a submission."""

    duplicate: bool = Field(description="The jobId was in use: nothing was stored, and this is the job that has it.")


class SingleJob(JobView):
    """A job with all its tries."""

    attempt_log: list[Attempt] = Field(description="The newest 50 tries, newest last.")


class BulkItem(View):
    """One job of a bulk submission."""

    id: str
    state: State
    duplicate: bool


class BulkAnswer(View):
    """A bulk submission, in the order of the request."""

    jobs: list[BulkItem]


class JobPage(View):
    """A page of jobs."""

    jobs: list[JobView]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class PendingResult(View):
    """There is no result yet."""

    id: str
    state: State
    links: Links


class LogLineView(View):
    """One line a job has logged."""

    seq: int
    at: datetime
    level: str
    logger: str | None
    message: str
    attempt: int | None


class LogPageView(View):
    """Lines of a job's log, oldest first."""

    logs: list[LogLineView]
    next: int | None = Field(description="What to send as 'after' for the next page; null if there is none yet.")


class RateView(View):
    """A rate limit of a queue over all workers."""

    max: int | None = Field(description="Null where only a job that met a rate limit holds the queue.")
    duration: int | None = Field(description="In ms.")
    limited_for_ms: int | None = Field(default=None, description="How long it still holds the queue, in ms.")


class LimitsView(View):
    """The limits of a queue; null where there is none."""

    concurrency: int | None
    rate: RateView | None
    max_length: int | None = None


class QueueView(View):
    """A queue."""

    name: str
    paused: bool
    counts: dict[State, int]
    oldest_waiting_ms: int | None = Field(description="How long the longest-waiting ready job has waited.")
    limits: LimitsView
    rates: dict[str, Any]


class QueueList(View):
    """All queues."""

    queues: list[QueueView]


class JobTypeView(View):
    """A job type that workers offer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, protected_namespaces=())

    name: str
    queue: str
    description: str
    data_schema: dict[str, Any] = Field(alias="schema", description="JSON Schema of the data.")
    defaults: dict[str, Any]
    workers: int


class JobTypeList(View):
    """All job types."""

    job_types: list[JobTypeView]


class WorkerView(View):
    """A worker process."""

    id: str
    host: str
    pid: int
    queues: list[str] | None
    pool: str
    slots: int
    busy: int
    jobs: list[Any]
    started_at: datetime
    heartbeat_at: datetime
    state: str


class WorkerList(View):
    """All workers."""

    workers: list[WorkerView]


class ScheduledJob(View):
    """What the jobs of a schedule are made of."""

    name: str
    queue: str
    options: JobOptions
    data: Any


class Fire(View):
    """A job that a schedule has made."""

    slot: datetime | None = Field(description="What it was made for; null: it was run by hand.")
    at: datetime
    job_id: str


class ScheduleView(View):
    """A schedule."""

    key: str
    pattern: str | None
    every: int | None = Field(description="In ms.")
    tz: str
    description: str = Field(description="The rhythm in words.")
    job: ScheduledJob
    start_date: datetime | None
    end_date: datetime | None
    limit: int | None
    misfire: Literal["skip", "one", "all"]
    overlap: bool
    paused: bool
    state: Literal["active", "paused", "finished"]
    next: list[datetime] = Field(description="The next slots, at most 5.")
    last_fires: list[Fire] = Field(description="The newest 10, newest first.")
    fire_count: int = Field(description="Jobs made for slots; those run by hand do not count.")


class SchedulePage(View):
    """A page of schedules."""

    schedules: list[ScheduleView]
    next: str | None = Field(description="The cursor of the next page; null: this is the last.")


class Stats(View):
    """The stack in a few numbers."""

    counts: dict[State, int] = Field(description="Jobs by state, over all queues.")
    queues: int
    paused_queues: int
    oldest_waiting_ms: int | None
    workers: int
    busy: int = Field(description="Slots that are taken now: by jobs, and in threads also by those that were given up.")
    slots: int = Field(description="Jobs that could run at once.")


class ScalingReason(View):
    """What decided."""

    code: Literal["idle", "running", "arrivals", "backlog", "concurrency", "rate-limit", "paused"]
    detail: str


class QueueScaling(View):
    """What a queue needs."""

    name: str
    ready: int = Field(description="Jobs that wait for a slot.")
    running: int
    oldest_waiting_ms: int | None
    in_per_second: float = Field(description="Jobs submitted, over the last five minutes.")
    out_per_second: float = Field(description="Tries that ended, over the last five minutes.")
    mean_run_ms: float | None = Field(description="Of the tries that ended; null: none did, a second is assumed.")
    workers: int = Field(description="Those that serve it and claim jobs.")
    slots: int = Field(description="Their slots, which other queues may share.")
    desired_slots: int
    desired_workers: int
    reason: ScalingReason


class Scaling(View):
    """What the work needs, for an autoscaler."""

    desired_workers: int = Field(description="For all queues together, with as many slots each as workers have now.")
    desired_slots: int
    workers: int = Field(description="Those that claim jobs.")
    slots: int
    drain_seconds: float = Field(description="BACKROOM_API_SCALING_DRAIN_SECONDS: when a backlog should be gone.")
    queues: list[QueueScaling]


class ApiKeyView(View):
    """What is known of an API key; never the key itself."""

    id: str | None = Field(description="null: it comes from the environment of the API.")
    name: str
    prefix: str | None = Field(description="How the key begins, to tell keys apart; null: from the environment.")
    roles: list[Literal["submit", "read", "operate", "admin"]]
    queues: list[str] | None = Field(description="The queues it is bound to; null: all.")
    job_types: list[str] | None = Field(description="The job types it is bound to; null: all.")
    source: Literal["api", "environment"] = Field(description="environment: BACKROOM_API_KEYS; not to be revoked here.")
    created_at: datetime | None
    created_by: str | None = Field(description="The name of the key that it was made with; open: there was none.")
    expires_at: datetime | None = Field(description="null: it does not end.")
    last_used_at: datetime | None = Field(
        description="Up to a minute before the last request with it; null: none, or from the environment."
    )


class NewApiKey(ApiKeyView):
    """A key that was just made."""

    key: str = Field(description="The key. It is shown now and never again: only a digest is kept.")


class ApiKeyPage(View):
    """A page of keys."""

    keys: list[ApiKeyView]
    next: str | None = Field(description="The cursor of the next page; null: this is the last.")


class AuditEntryView(View):
    """Something that somebody did, or was refused."""

    at: datetime
    actor: str | None = Field(
        description="The name of the key; open: there were no keys; (stack): nobody asked for it; null: no key was "
        "sent, or a wrong one."
    )
    action: str = Field(
        description="An operationId of this document, or disable_webhook, which the stack does by itself; unknown: "
        "there is no such operation."
    )
    target: str = Field(description="The address of what was acted on, or of what was made.")
    outcome: Literal["done", "refused"]
    status: int = Field(description="The status of the answer.")
    request_id: str
    address: str = Field(description="Where the request came from, as the API sees it: a proxy's, behind one.")


class AuditPage(View):
    """A page of the audit log."""

    entries: list[AuditEntryView]
    next: str | None = Field(description="The cursor of the next page; null: this is the last.")


class WebhookView(View):
    """An endpoint of webhooks."""

    id: str
    url: str
    events: list[WebhookEvent]
    description: str | None
    enabled: bool = Field(description="Whether it is told of jobs.")
    disabled_reason: Literal["gone", "failing", "by-hand"] | None = Field(
        description="gone: it answered 410; failing: every try has failed for days; null: it is enabled."
    )
    disabled_at: datetime | None
    failing_since: datetime | None = Field(description="Since when every try has failed; null: the last one did not.")
    created_at: datetime
    old_secret_until: datetime | None = Field(description="Until when the secret before the newest signs, or signed.")
    pending: int = Field(description="Deliveries that wait or are tried again.")
    dropped: int = Field(description="Notices that were not told, because too many were pending.")


class NewWebhook(WebhookView):
    """An endpoint that was just made."""

    secret: str = Field(description="What its messages are signed with. It is shown now and never again.")


class WebhookList(View):
    """All endpoints of webhooks."""

    webhooks: list[WebhookView]


class SecretView(View):
    """What messages are signed with."""

    secret: str = Field(description="whsec_ and base64.")
    old_secret: str | None = Field(description="The one before, while it signs as well.")
    old_secret_until: datetime | None


class DeliveryAttempt(View):
    """One try to deliver."""

    at: datetime
    status: int | None = Field(description="What the receiver answered; null: nothing.")
    duration_ms: int
    error: str | None


class DeliveryView(View):
    """A delivery of a webhook."""

    id: str
    endpoint: str | None = Field(description="null: the job's own webhook.")
    url: str = Field(description="Where it was, or will be, sent to.")
    type: str = Field(description="The type of the message, such as job.completed.")
    job_id: str
    webhook_id: str = Field(description="The header webhook-id: the same in every try.")
    state: DeliveryState
    at: datetime = Field(description="When the event was.")
    attempts_made: int
    attempts: list[DeliveryAttempt] = Field(description="The newest 50, the newest last.")
    next_attempt_at: datetime | None = Field(description="null: as soon as a worker is free, or never.")


class DeliveryList(View):
    """A page of deliveries."""

    deliveries: list[DeliveryView]
    next: str | None = Field(description="The cursor of the next page; null: this is the last.")


class HealthView(View):
    """The health of this process."""

    status: Literal["ok", "ready"]
