"""`@job`: makes a function a job type, which is a Celery task."""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from celery import Celery, Task, shared_task
from celery.exceptions import Ignore, Reject, Retry
from pydantic import BaseModel, TypeAdapter, ValidationError

from backroom.engine import current
from backroom.engine.deferral import Deferral
from backroom.engine.errors import message_of
from backroom.engine.retrying import next_delay_ms
from backroom.model.backoff import Backoff, CustomBackoff, Exponential, Fixed, milliseconds_of, seconds_of
from backroom.model.control import RateLimited, RetryAfter
from backroom.model.errors import InvalidInput
from backroom.model.job import DEFAULT_QUEUE, DELIVER_WEBHOOK
from backroom.model.job_types import JobType
from backroom.model.names import check_name
from backroom.model.options import JobOptions, parse_options
from backroom.model.schedule import ScheduleSpec, parse_schedule
from backroom.model.validation import field_errors

__all__ = ["JobTask", "job", "job_types_of", "schedules_of"]

Seconds = float | timedelta
Function = TypeVar("Function", bound=Callable[..., Any])


class JobTask(Task):
    """The Celery task behind a job type. It takes one argument: the job's data."""

    abstract = True
    #: Its one argument is the data of the job.
    takes_data = True
    #: Where its jobs go unless the caller names a queue. (Celery warns of a task attribute called ``queue``.)
    job_queue = DEFAULT_QUEUE
    #: The defaults of its jobs.
    job_options = JobOptions()
    #: A backoff that JSON cannot say: a callable.
    custom_backoff: CustomBackoff | None = None
    #: When it makes a job by itself.
    schedule: ScheduleSpec | None = None
    #: Checks the data, or None where anything goes.
    adapter: TypeAdapter[Any] | None = None
    description = ""

    def apply_async(self, args: Any = None, kwargs: Any = None, *positional: Any, **options: Any) -> Any:
        """Submit a job: ``apply_async((data,), countdown=..., priority=..., queue=...)``.

        ``data`` is one mapping or model. Raises `InvalidInput` if the job type refuses it, `TypeError` for other
        arguments.
        """
        if kwargs or not isinstance(args, tuple | list) or len(args) != 1:
            raise TypeError(
                f"{self.name} takes exactly one argument, its data: {self.name}.delay(data) with a mapping or model"
            )
        if not options.keys() & {"queue", "routing_key", "exchange"}:
            options["queue"] = self.job_queue
        return super().apply_async((plain_data(self.adapter, args[0]),), None, *positional, **options)


def plain_data(adapter: TypeAdapter[Any] | None, data: Any) -> Any:
    """``data`` as JSON values, checked by ``adapter``."""
    if isinstance(data, BaseModel):
        data = data.model_dump(mode="json", by_alias=True)
    if adapter is not None:
        _validated(adapter, data)
    return dict(data) if isinstance(data, Mapping) else data


def _validated(adapter: TypeAdapter[Any], data: Any) -> Any:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        raise InvalidInput(field_errors(error, "/data")) from None


def job(  # noqa: PLR0913 - one keyword an option
    name: str,
    *,
    queue: str = DEFAULT_QUEUE,
    attempts: int | None = None,
    backoff: Backoff | CustomBackoff | None = None,
    timeout: Seconds | None = None,
    soft_timeout: Seconds | None = None,
    ttl: Seconds | None = None,
    priority: int | None = None,
    max_stalled: int | None = None,
    remove_on_complete: bool | int | Mapping[str, int] | None = None,
    remove_on_fail: bool | int | Mapping[str, int] | None = None,
    schedule: str | Seconds | Mapping[str, Any] | None = None,
) -> Callable[[Function], Any]:
    """Make a function of one argument, the data, a job type. Durations are **seconds** or `timedelta`.

    :param name: the job type, as callers name it.
    :param queue: where its jobs go unless the caller names a queue.
    :param attempts: tries in all, the first included (default 1).
    :param backoff: `Fixed`, `Exponential`, or a callable ``(attempt, error) -> seconds`` (0: at once, -1: fail now).
    :param timeout: a try is stopped after this long; under prefork its process is killed.
    :param soft_timeout: prefork only: raises ``SoftTimeLimitExceeded`` inside the job after this long.
    :param ttl: a job not started this long after it became ready expires.
    :param priority: 0 runs first, then 1, 2, ... up to 2097151.
    :param max_stalled: how often its process may die before it fails (default 1).
    :param remove_on_complete: True: keep nothing; False: keep all; N: the newest N; ``{"age": seconds, "count": n}``.
    :param remove_on_fail: the same for jobs that fail, are cancelled or expire.
    :param schedule: makes a job by itself, with empty data: a cron pattern, a duration, or what ``PUT /v1/schedules``
        takes without its ``job``, such as ``{"pattern": "0 3 * * *", "tz": "Europe/Berlin", "misfire": "skip"}``. Its
        key is ``code:<name>``; it can be paused, but only edited here.
    :raises InvalidInput: for options out of range, and for a schedule whose empty data the type refuses.

    A job's own options win over these. If the argument is annotated with a pydantic model (or another type pydantic can
    check), data is validated at submission and the function is given an instance; else it is given the dict.
    """
    check_name(name, "/name")
    check_name(queue, "/queue")
    raw: dict[str, Any] = {
        "attempts": attempts,
        "timeout": _milliseconds(timeout),
        "ttl": _milliseconds(ttl),
        "priority": priority,
        "maxStalled": max_stalled,
        "removeOnComplete": _retention(remove_on_complete),
        "removeOnFail": _retention(remove_on_fail),
    }
    if isinstance(backoff, Fixed | Exponential):
        kind = "fixed" if isinstance(backoff, Fixed) else "exponential"
        raw["backoff"] = {"type": kind, "delay": milliseconds_of(backoff.delay), "jitter": backoff.jitter}
    options = parse_options({option: value for option, value in raw.items() if value is not None}, "")
    current.set_options(name, options)
    custom = backoff if callable(backoff) and not isinstance(backoff, Backoff) else None

    spec = None if schedule is None else _schedule(name, queue, options, schedule)

    def decorate(function: Function) -> Any:
        adapter = _adapter_of(function)
        if spec is not None:
            plain_data(adapter, {})  # what its jobs will get: refused now rather than at every slot
        return shared_task(
            name=name,
            base=JobTask,
            job_queue=queue,
            job_options=options,
            custom_backoff=staticmethod(custom) if custom else None,
            adapter=adapter,
            description=inspect.getdoc(function) or "",
            schedule=spec,
            time_limit=None if timeout is None else seconds_of(timeout),
            soft_time_limit=None if soft_timeout is None else seconds_of(soft_timeout),
        )(_runner(name, queue, function, adapter, backoff))

    return decorate


def _milliseconds(duration: Seconds | None) -> int | None:
    return None if duration is None else milliseconds_of(duration)


def _retention(wish: int | Mapping[str, int] | None) -> Any:
    return dict(wish) if isinstance(wish, Mapping) else wish


def _schedule(name: str, queue: str, options: JobOptions, schedule: str | Seconds | Mapping[str, Any]) -> ScheduleSpec:
    if isinstance(schedule, str):
        raw: dict[str, Any] = {"pattern": schedule}
    elif isinstance(schedule, Mapping):
        raw = dict(schedule)
    else:
        raw = {"every": _milliseconds(schedule)}
    if "job" in raw:
        raise TypeError(f"the schedule of {name} makes jobs of this type: leave out 'job'")
    return parse_schedule({**raw, "job": {"name": name, "queue": queue, "options": options.to_dict()}})


def _adapter_of(function: Callable[..., Any]) -> TypeAdapter[Any] | None:
    """What checks the function's one argument, or None if it takes any dict."""
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 1 or parameters[0].kind not in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }:
        raise TypeError(f"{function.__qualname__} must take exactly one argument: the data of the job")
    annotation = typing.get_type_hints(function).get(parameters[0].name, Any)
    if annotation in (Any, dict) or typing.get_origin(annotation) in (dict, Mapping):
        return None
    return TypeAdapter(annotation)


def _runner(
    name: str,
    queue: str,
    function: Callable[[Any], Any],
    adapter: TypeAdapter[Any] | None,
    backoff: Backoff | CustomBackoff | None,
) -> Callable[[Any], Any]:
    """What Celery runs: checks the data, runs the function, and turns its exceptions into Celery's words."""

    @functools.wraps(function)
    def run(data: Any) -> Any:
        if isinstance(data, BaseModel):
            data = data.model_dump(mode="json", by_alias=True)
        value = data if adapter is None else _validated(adapter, data)
        running = current.running_job()
        if running is None:
            return _run_alone(name, queue, function, value)
        if running.inside:  # called by the code of a job, as any function is
            return jsonable(function(value))
        running.inside = True
        try:
            return jsonable(function(value))
        except (Retry, Ignore, Reject):
            raise
        except RetryAfter as error:
            raise Deferral(message_of(error), exc=error, when=error.seconds, kind="retry-after") from error
        except RateLimited as error:
            raise Deferral(message_of(error), exc=error, when=error.seconds, kind="rate-limited") from error
        except Exception as error:
            delay = next_delay_ms(running.options, running.attempt, error, backoff)
            if delay is None:
                raise
            raise Retry(message_of(error), exc=error, when=delay / 1000) from error

    # The wrapper takes what JSON gives; the annotations of the function it wraps would say otherwise to Celery.
    run.__annotations__ = {}
    return run


def _run_alone(name: str, queue: str, function: Callable[[Any], Any], value: Any) -> Any:
    """Called directly, outside a worker: the same code, with a context that keeps what it says in memory."""
    alone = current.RunningJob(
        job_id="local", name=name, queue=queue, token="", attempt=1, options={}, reporter=current.NullReporter()
    )
    alone.inside = True
    with current.running(alone):
        return jsonable(function(value))


def jsonable(result: Any) -> Any:
    """A model as plain values; the rest as it is."""
    return result.model_dump(mode="json", by_alias=True) if isinstance(result, BaseModel) else result


def job_types_of(app: Celery) -> list[JobType]:
    """What a worker of ``app`` offers: its ``@job`` types, and plain tasks as types that accept anything."""
    found = []
    for name, task in sorted(app.tasks.items()):
        if name.startswith("celery.") or name == DELIVER_WEBHOOK:
            continue
        if isinstance(task, JobTask):
            schema = {} if task.adapter is None else task.adapter.json_schema(mode="validation")
            found.append(
                JobType(
                    name=name,
                    queue=task.job_queue,
                    description=task.description,
                    schema=schema,
                    defaults=task.job_options.to_dict(),
                )
            )
        else:
            queue = getattr(task, "queue", None) or app.conf.task_default_queue
            found.append(JobType(name=name, queue=queue, description=inspect.getdoc(task.run) or ""))
    return found


def schedules_of(app: Celery) -> dict[str, ScheduleSpec]:
    """The schedules that the code of ``app`` defines, by job type."""
    return {
        name: task.schedule
        for name, task in app.tasks.items()
        if isinstance(task, JobTask) and task.schedule is not None
    }
