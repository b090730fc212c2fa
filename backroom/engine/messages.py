"""Between Celery's task messages (protocol 2) and jobs.

A job submitted through Celery keeps, beside its data, what Celery needs to run it: headers, the embedded callbacks and
how the data becomes arguments. A job submitted over HTTP has none of that.
"""

import base64
import json
import math
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from celery import current_app
from celery.utils.time import make_aware
from kombu.compression import decompress
from kombu.serialization import loads as decode_body
from kombu.utils.json import dumps as celery_dumps
from kombu.utils.json import loads as celery_loads

from backroom.model.job import NewJob
from backroom.model.options import MAX_DURATION_MS, MAX_PRIORITY, JobOptions, check_run_at
from backroom.store.keys import PART_OF_JOB

__all__ = [
    "Revoked",
    "arguments_of",
    "brings_on",
    "celery_part",
    "is_task_message",
    "job_from_message",
    "refuse_old_protocol",
    "request_of",
    "revoked_by",
]

#: Headers that are the same for every task, that the store keeps elsewhere, or that are looked at one by one.
_DROPPED = frozenset(
    {"lang", "task", "id", "eta", "expires", "argsrepr", "kwargsrepr", "origin", "retries", "root_id", "parent_id",
     "group", "group_index", "shadow", "timelimit", "ignore_result", "replaced_task_nesting", "stamped_headers",
     "stamps", "compression"}
)  # fmt: skip
#: Those of them that are kept when they say something.
_KEPT_IF_SET = (
    "retries", "root_id", "parent_id", "group", "shadow", "timelimit", "ignore_result",
    "replaced_task_nesting", "stamped_headers", "stamps", "origin", "eta", "expires",
)  # fmt: skip
#: What would make a key of the store ambiguous: a queue's name in front of a state.
_AMBIGUOUS_QUEUE = re.compile(
    r":(waiting|delayed|active|waiting-children|completed|failed|cancelled|expired|ttl|until)$"
)
_LONGEST_NAME = 256
_LONGEST_USER_ID = 256


def is_task_message(message: dict[str, Any]) -> bool:
    """Whether a kombu message is a task, as opposed to a reply or an event."""
    headers = message.get("headers") or {}
    return "task" in headers and "id" in headers


def refuse_old_protocol(message: dict[str, Any]) -> None:
    """Raise `ValueError` for a task in the form of Celery 3 (``task_protocol = 1``), whose names are in its body."""
    body = message["body"]
    if isinstance(body, str) and '"task"' in body and '"retries"' in body and '"task"' not in message["headers"]:
        told = json.loads(body)
        if isinstance(told, dict) and {"task", "id", "args", "retries"} <= told.keys():
            raise ValueError("a Celery application on Backroom needs task_protocol = 2, which is Celery's default")


class Revoked(NamedTuple):
    """What a broadcast of Celery's remote control revokes."""

    task_ids: list[str]
    #: Whether jobs that run are to be stopped as well.
    running: bool


#: Signals that end a process. Others, such as USR1 for a soft time limit, are left to the worker that runs the job.
_ENDING_SIGNALS = frozenset({None, "TERM", "SIGTERM", "KILL", "SIGKILL", "INT", "SIGINT", "QUIT", "SIGQUIT"})


def revoked_by(message: dict[str, Any]) -> Revoked | None:
    """The tasks that a remote control message revokes on every worker; None if it does something else."""
    body = message["body"]
    if not isinstance(body, str) or ('"revoke"' not in body and '"terminate"' not in body):
        return None
    told = json.loads(body)
    if told.get("method") not in {"revoke", "terminate"} or told.get("destination") or told.get("pattern"):
        return None
    arguments = told.get("arguments") or {}
    task_ids = arguments.get("task_id") or []
    terminate = told["method"] == "terminate" or bool(arguments.get("terminate"))
    return Revoked(
        [task_ids] if isinstance(task_ids, str) else [str(task_id) for task_id in task_ids],
        running=terminate and arguments.get("signal") in _ENDING_SIGNALS,
    )


def _time(value: str | datetime | float | None, now: datetime) -> datetime | None:
    """A time as Celery writes it; one without a zone is in the application's ``timezone``."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(now.timestamp() + value, UTC)
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    aware: datetime = moment if moment.tzinfo else make_aware(moment, current_app.timezone)
    return aware


def _check_name(kind: str, name: object, ambiguous: re.Pattern[str] | None = None) -> None:
    """Celery lets names be almost anything; refuse what the store could not tell apart."""
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or "|" in name:
        raise ValueError(f"{kind} must be 1 to {_LONGEST_NAME} printable characters without '|', not {name!r}")
    if ambiguous is not None and ambiguous.search(name):
        raise ValueError(f"{kind} must not end like a part of a key of the job store: {name!r}")


def job_from_message(
    queue: str,
    message: dict[str, Any],
    *,
    defaults: JobOptions | None = None,
    staged: bool = False,
    now: datetime | None = None,
) -> NewJob:
    """The job that a published task message stands for; ``defaults`` are the options of its type.

    ``staged``: it is what a running job goes on as, under its id. Raises `ValueError` for names that cannot be kept,
    and `InvalidInput` for times that cannot.
    """
    now = now or datetime.now(UTC)
    headers, properties = message["headers"], message["properties"]
    _check_name("the name of a queue", queue, _AMBIGUOUS_QUEUE)
    _check_name("the name of a task", headers["task"])
    _check_name("the id of a task", headers["id"], PART_OF_JOB)
    options: dict[str, Any] = {"job_id": headers["id"]}
    if properties.get("priority"):
        options["priority"] = min(max(int(properties["priority"]), 0), MAX_PRIORITY)
    eta, expires = _time(headers.get("eta"), now), _time(headers.get("expires"), now)
    if eta is not None:
        options["run_at"] = eta
    if expires is not None:
        ready = max(now, eta) if eta else now
        # 0: too late already.
        options["ttl"] = min(max(0, math.ceil((expires - ready).total_seconds() * 1000)), MAX_DURATION_MS)
    own = JobOptions.model_construct(_fields_set=set(options), **options)
    check_run_at(own.run_at_ms() or 0, "/runAt")
    data, celery, user_id = _data_of(message)
    kept = {name: headers[name] for name in _KEPT_IF_SET if headers.get(name)}
    if headers.get("group_index") is not None:  # the first of a group has 0
        kept["group_index"] = headers["group_index"]
    kept.update({name: value for name, value in headers.items() if name not in _DROPPED})
    if staged:  # else the tries that the job has behind it would count as retries of what it goes on as
        kept["retries"] = headers.get("retries", 0)
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
        celery=celery_dumps(celery, separators=(",", ":")),
    )


def _body_of(message: dict[str, Any]) -> str | bytes:
    """The body as the serializer wrote it."""
    body: str | bytes = message["body"]
    if message["properties"].get("body_encoding") == "base64":
        body = base64.b64decode(body)
    if compression := message["headers"].get("compression"):
        body = decompress(body, compression)
    return body


def brings_on(message: dict[str, Any], job_id: str) -> bool:
    """Whether the task of the message is the first of several that end in one with the id ``job_id``.

    That is how a job replaces itself with a chain or a chord: the last task, or the body, has its id.
    """
    body, content_type = _body_of(message), message["content-type"]
    _, _, embed = decode_body(body, content_type, message["content-encoding"], accept={content_type})
    return _mentions(embed.get("chain"), job_id) or _mentions(embed.get("chord"), job_id)


def _mentions(signatures: Any, job_id: str) -> bool:
    """Whether one of the signatures, however deep, will be published under that id."""
    if isinstance(signatures, dict):
        options = signatures.get("options")
        if isinstance(options, dict) and options.get("task_id") == job_id:
            return True
        return any(_mentions(value, job_id) for value in signatures.values())
    return isinstance(signatures, list | tuple) and any(_mentions(value, job_id) for value in signatures)


def _data_of(message: dict[str, Any]) -> tuple[str, dict[str, Any], str | None]:
    """The data of the job (JSON text), how to make arguments of it, and the user id in it."""
    body = _body_of(message)
    if message["content-type"] != "application/json":
        raw = base64.b64encode(body.encode() if isinstance(body, str) else body).decode()
        headers = message["headers"]
        shown = {"args": headers.get("argsrepr", ""), "kwargs": headers.get("kwargsrepr", "")}
        form = {"form": "raw", "body": raw, "type": message["content-type"], "encoding": message["content-encoding"]}
        return _any_json(shown), form, None
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
    return (
        _any_json(data),
        celery,
        user_id if isinstance(user_id, str) and 0 < len(user_id) <= _LONGEST_USER_ID else None,
    )


def _any_json(value: object) -> str:
    """Compact JSON that also takes what Celery's JSON takes (NaN, lone surrogates as escapes)."""
    return json.dumps(value, separators=(",", ":"))


def celery_part(text: str) -> dict[str, Any] | None:
    """What a job keeps of its task message, from the text that the store has of it; None: it came over HTTP."""
    if not text:
        return None
    part: dict[str, Any] = celery_loads(text) if '"__type__"' in text else json.loads(text)
    return part


def arguments_of(
    data: str, celery: dict[str, Any] | None, *, takes_data: bool, accept: frozenset[str]
) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Positional arguments, keyword arguments and embedded callbacks of a job.

    ``takes_data``: the task is a ``@job``, which takes its data as one argument. Other tasks take theirs as keyword
    arguments, or as ``{"args": [...], "kwargs": {...}}``. ``accept``: content types that may be decoded.
    """
    if celery is None:
        return *_plain_arguments(json.loads(data), takes_data=takes_data), {}
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


def _plain_arguments(value: Any, *, takes_data: bool) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a job that came over HTTP."""
    if takes_data:
        return [value], {}
    if not isinstance(value, dict):
        raise TypeError("the data of a plain Celery task must be an object: its keyword arguments")
    if value.keys() <= {"args", "kwargs"} and isinstance(value.get("args"), list):
        return value["args"], value.get("kwargs") or {}
    return [], value


def request_of(
    *,
    job_id: str,
    name: str,
    queue: str,
    made: int,
    stalled: int,
    priority: int,
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
        "delivery_info": {"exchange": "", "routing_key": queue, "priority": priority, "redelivered": stalled > 0},
        "properties": {},
    }
    if celery is not None:
        request.update(celery.get("headers") or {})
        request["reply_to"] = celery.get("reply_to", "")
    request.update(embed)
    return request
