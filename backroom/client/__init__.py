"""The client of a Backroom stack, over HTTP::

    from backroom.client import Backroom

    with Backroom("http://127.0.0.1:8000") as room:
        job = room.submit("heavy-task", {"userId": "u1", "payload": {}}, attempts=3)
        print(room.result(job.id, timeout=60))

Needs httpx (``pip install 'backroom[client]'``), and neither Celery nor Redis nor Flask. Durations are seconds or a
`timedelta`, as with ``@job``.
"""

try:
    import httpx as _  # noqa: F401 - only whether it is there
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError("backroom.client needs httpx: pip install 'backroom[client]'", name="httpx") from _error

from backroom.client.answers.access import ApiKey, AuditEntry
from backroom.client.answers.bulk import BulkAction
from backroom.client.answers.jobs import Attempt, Job, JobError, LogLine, Progress, StateReason, Submitted
from backroom.client.answers.queues import Limits, Queue, Rate
from backroom.client.answers.schedules import Fire, Schedule
from backroom.client.answers.stack import Event, JobType, Stats, Worker
from backroom.client.answers.webhooks import Delivery, DeliveryAttempt, WebhookEndpoint, WebhookSecret
from backroom.client.bulk import BulkActions, JobFilter
from backroom.client.client import DEFAULT_URL, Backroom
from backroom.client.errors import (
    BackroomAPIError,
    BackroomClientError,
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    InvalidInput,
    JobFailed,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    ServerError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    WaitTimeout,
)
from backroom.client.keys import Keys
from backroom.client.options import Keep, NewJob, Options, Webhook
from backroom.client.queues import Queues
from backroom.client.retrying import RetryPolicy
from backroom.client.schedules import Rhythm, Schedules
from backroom.client.streams import EventStream
from backroom.client.webhooks import Webhooks
from backroom.client.workers import Workers
from backroom.model.backoff import Exponential, Fixed
from backroom.model.states import State

__all__ = [
    "DEFAULT_URL",
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Backroom",
    "BackroomAPIError",
    "BackroomClientError",
    "BadRequest",
    "BulkAction",
    "BulkActions",
    "Conflict",
    "Delivery",
    "DeliveryAttempt",
    "Event",
    "EventStream",
    "Exponential",
    "FieldError",
    "Fire",
    "Fixed",
    "Forbidden",
    "InvalidInput",
    "Job",
    "JobError",
    "JobFailed",
    "JobFilter",
    "JobType",
    "Keep",
    "Keys",
    "Limits",
    "LogLine",
    "NewJob",
    "NotFound",
    "Options",
    "PreconditionFailed",
    "PreconditionRequired",
    "Progress",
    "Queue",
    "Queues",
    "Rate",
    "RetryPolicy",
    "Rhythm",
    "Schedule",
    "Schedules",
    "ServerError",
    "State",
    "StateReason",
    "Stats",
    "Submitted",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "WaitTimeout",
    "Webhook",
    "WebhookEndpoint",
    "WebhookSecret",
    "Webhooks",
    "Worker",
    "Workers",
]
