"""Between Celery's task messages (protocol 2) and jobs.

A job submitted through Celery keeps, beside its data, what Celery needs to run it: headers, the embedded callbacks and how
the data becomes arguments. A job submitted over HTTP has none of that.
"""

import base64
import json
import math
from datetime import UTC, datetime
from typing import Any

from kombu.serialization import loads as decode_body
from kombu.utils.json import loads as celery_loads

from backroom.model.job import NewJob, compact_json
from backroom.model.options import MAX_DURATION_MS, MAX_PRIORITY, JobOptions

__all__ = ["arguments_of", "is_task_message", "job_from_message", "request_of"]

#: Headers that are the same for every task, or that the store keeps elsewhere.
_DROPPED = frozenset(
    {"lang", "task", "id", "eta", "expires", "argsrepr", "kwargsrepr", "origin", "retries", "root_id", "parent_id", "group",
     "group_index", "shadow", "timelimit", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps",
     "compression"}
)  # fmt: skip
#: The same, kept when they say something.
_KEPT_IF_SET = (
    "retries", "root_id", "parent_id", "group", "group_index", "shadow", "timelimit", "ignore_result",
    "replaced_task_nesting", "stamped_headers", "stamps", "origin",
)  # fmt: skip


def is_task_message(message: dict[str, Any]) -> bool:
    """Whether a kombu message is a task, as opposed to a reply or an event."""
    headers = message.get("headers") or {}
    return "task" in headers and "id" in headers


def _time(value: str | datetime | float | None, now: datetime) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(now.timestamp() + value, UTC)
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def job_from_message(
    queue: str, message: dict[str, Any], *, defaults: JobOptions | None = None, now: datetime | None = None
) -> NewJob:
    """The job that a published task message stands for; ``defaults`` are the options of its type."""
    now = now or datetime.now(UTC)
    headers, properties = message["headers"], message["properties"]
    if "|" in queue or "|" in headers["task"]:
        raise ValueError("names of queues and tasks must not contain '|'")
    options: dict[str, Any] = {"job_id": headers["id"]}
    if properties.get("priority"):
        options["priority"] = min(max(int(properties["priority"]), 0), MAX_PRIORITY)
    eta, expires = _time(headers.get("eta"), now), _time(headers.get("expires"), now)
    if eta is not None:
        options["run_at"] = eta
    if expires is not None:
        ready = max(now, eta) if eta else now
        options["ttl"] = min(max(1, math.ceil((expires - ready).total_seconds() * 1000)), MAX_DURATION_MS)
    own = JobOptions.model_construct(_fields_set=set(options), **options)
    data, celery, user_id = _data_of(message)
    kept = {name: headers[name] for name in _KEPT_IF_SET if headers.get(name)}
    kept.update({name: value for name, value in headers.items() if name not in _DROPPED})
    celery["headers"] = kept
    if properties.get("reply_to"):
        celery["reply_to"] = properties["reply_to"]
    return NewJob(
        id=headers["id"],
        name=headers["task"],
        queue=queue,
        data=data,
        options=own.merged(defaults) if defaults else own,
        user_id=user_id,
        celery=compact_json(celery),
    )


def _data_of(message: dict[str, Any]) -> tuple[str, dict[str, Any], str | None]:
    """The data of the job (JSON text), how to make arguments of it, and the user id in it."""
    properties = message["properties"]
    body, encoding = message["body"], properties.get("body_encoding")
    if encoding == "base64":
        body = base64.b64decode(body)
    if message["content-type"] != "application/json":
        raw = base64.b64encode(body.encode() if isinstance(body, str) else body).decode()
        headers = message["headers"]
        shown = {"args": headers.get("argsrepr", ""), "kwargs": headers.get("kwargsrepr", "")}
        form = {"form": "raw", "body": raw, "type": message["content-type"], "encoding": message["content-encoding"]}
        return compact_json(shown), form, None
    text = body.decode() if isinstance(body, bytes) else body
    args, kwargs, embed = json.loads(text)
    embed = {name: value for name, value in (embed or {}).items() if value}
    celery: dict[str, Any] = {"embed": embed} if embed else {}
    if len(args) == 1 and isinstance(args[0], dict) and not kwargs:
        data, celery["form"] = args[0], "data"
    elif args:
        data, celery["form"] = {"args": args, "kwargs": kwargs}, "args"
    else:
        data, celery["form"] = kwargs, "kwargs"
    user_id = data.get("userId")
    return _any_json(data), celery, user_id if isinstance(user_id, str) and 0 < len(user_id) <= 256 else None


def _any_json(value: object) -> str:
    """Compact JSON that also takes what Celery's JSON takes (NaN, lone surrogates as escapes)."""
    return json.dumps(value, separators=(",", ":"))


def arguments_of(
    data: str, celery: dict[str, Any] | None, *, takes_data: bool, accept: frozenset[str]
) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Positional arguments, keyword arguments and embedded callbacks of a job.

    ``takes_data``: the task is a ``@job``, which takes its data as one argument. Other tasks take theirs as keyword
    arguments, or as ``{"args": [...], "kwargs": {...}}``. ``accept``: content types that may be decoded.
    """
    if celery is None:
        value = json.loads(data)
        if takes_data:
            return [value], {}, {}
        if isinstance(value, dict) and value.keys() <= {"args", "kwargs"} and isinstance(value.get("args"), list):
            return value["args"], value.get("kwargs") or {}, {}
        if isinstance(value, dict):
            return [], value, {}
        raise ValueError("the data of a plain Celery task must be an object: its keyword arguments")
    form = celery["form"]
    if form == "raw":
        args, kwargs, embed = decode_body(
            base64.b64decode(celery["body"]), celery["type"], celery["encoding"], accept=accept
        )
        return args, kwargs, embed or {}
    value = celery_loads(data)
    embed = celery.get("embed") or {}
    if form == "data":
        return [value], {}, embed
    if form == "args":
        return value["args"], value["kwargs"], embed
    return [], value, embed


def request_of(
    *,
    job_id: str,
    name: str,
    queue: str,
    made: int,
    stalled: int,
    hostname: str,
    celery: dict[str, Any] | None,
    embed: dict[str, Any],
) -> dict[str, Any]:
    """What Celery calls the request of a task: headers and more, as `celery.app.task.Context` takes them."""
    request: dict[str, Any] = {
        "lang": "py",
        "task": name,
        "id": job_id,
        "root_id": job_id,
        "parent_id": None,
        "group": None,
        "retries": made,
        "timelimit": [None, None],
        "eta": None,
        "expires": None,
        "argsrepr": "",
        "kwargsrepr": "",
        "ignore_result": False,
        "reply_to": "",
        "correlation_id": job_id,
        "hostname": hostname,
        "delivery_info": {"exchange": "", "routing_key": queue, "priority": 0, "redelivered": stalled > 0},
        "properties": {},
    }
    if celery is not None:
        request.update(celery.get("headers") or {})
        request["reply_to"] = celery.get("reply_to", "")
    request.update(embed)
    return request
