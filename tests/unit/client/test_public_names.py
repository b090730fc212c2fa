"""The door that a user of the client comes in by."""

import inspect
import subprocess
import sys
from pathlib import Path

import backroom
from backroom import client

NAMES = [
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


def test_the_public_names_are_these_and_each_is_explained():
    assert client.__all__ == NAMES
    assert [name for name in NAMES if name != "DEFAULT_URL" and not inspect.getdoc(getattr(client, name))] == []


def test_it_loads_nothing_of_the_server_side():
    foreign = "{'celery', 'kombu', 'redis', 'flask', 'pydantic'}"
    code = f"import sys, backroom.client.cli; print(*{foreign} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.split() == []


def test_without_httpx_it_says_what_to_install():
    code = "import sys; sys.modules['httpx'] = None; import backroom.client"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: backroom.client needs httpx: pip install 'backroom[client]'"
    )


def test_its_types_are_for_all():
    assert (Path(backroom.__file__).parent / "py.typed").exists()
