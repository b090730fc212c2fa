"""A Celery application whose jobs do what a test says, and note what they did where it survives every crash.

``TRIAL_FOLDER`` is the folder of the notes, and of the files that jobs wait for.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Task, shared_task
from celery.concurrency.asynpool import AsynPool
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from celery.worker.control import control_command
from pydantic import BaseModel, Field

from backroom import Exponential, Fixed, RateLimited, RetryAfter, Unrecoverable, current_job, job
from backroom.engine.app import create_app
from backroom.model.errors import StoreUnavailable

log = logging.getLogger(__name__)
task_log = get_task_logger(__name__)

app = create_app("trial")
app.set_default()

FOLDER = Path(os.environ["TRIAL_FOLDER"])
LOOK_SECONDS = 0.01

if (FOLDER / "pools look once an hour").exists():
    # For tests of what is noticed without it: Celery's pool looks after its processes every five seconds.
    AsynPool.timers = property(lambda pool: {pool.maintain_pool: 3600.0})


def note(word: str) -> None:
    """Write a line to the diary: one write, so that lines of several processes do not mix."""
    line = f"{time.time():.6f} {word} {current_job.id} {current_job.attempt} {os.getpid()}\n"
    with (FOLDER / "diary").open("a") as diary:
        diary.write(line)


@contextmanager
def noted() -> Iterator[None]:
    """Note begin and end of the code within; no end if it raises."""
    note("begin")
    yield
    note("end")


@job("echo")
def echo(data: dict[str, Any]) -> dict[str, Any]:
    """Return what it was given."""
    with noted():
        return data


@job("nap")
def nap(data: dict[str, Any]) -> None:
    """Sleep for so many seconds."""
    with noted():
        time.sleep(data["seconds"])


@job("spin")
def spin(data: dict[str, Any]) -> None:
    """Keep a core busy for so many seconds; with ``gil`` in C code that lets no other thread run."""
    with noted():
        end = time.monotonic() + data["seconds"]
        while time.monotonic() < end:
            sum(range(20_000_000 if data.get("gil") else 20_000))


@job("wait")
def wait(data: dict[str, Any]) -> str:
    """Wait for a file.

    ``how``: deaf (to everything), talking (reports progress), looking (asks whether it is cancelled), stubborn
    (swallows every exception), tidy (says so when it is stopped).
    """
    how = data.get("how", "deaf")
    with noted():
        log.info("waiting for %s", data["for"])
        while not (FOLDER / data["for"]).exists():
            try:
                time.sleep(LOOK_SECONDS)
                if how == "talking":
                    current_job.progress(50)
                if how == "looking" and current_job.cancelled:
                    note("saw")
                    return "stopped by itself"
            except BaseException:
                if how == "tidy":
                    log.warning("tidying up")
                    note("tidy")
                if how != "stubborn":
                    raise
    return "waited"


@job("log")
def say(data: dict[str, Any]) -> None:
    """Say something in every way there is, then wait for a file; ``after``: not before this file is there."""
    note("begin")
    while "after" in data and not (FOLDER / data["after"]).exists():
        time.sleep(LOOK_SECONDS)
    log.info("logged %s", data["text"])
    log.debug("not for the log")
    task_log.info("through Celery's logger")
    print("printed", data["text"])  # noqa: T201 - a job that prints
    print("complained", file=sys.stderr)  # noqa: T201 - a job that prints
    current_job.log("said \udcff")
    current_job.progress(40, "nearly")
    note("said")
    while not (FOLDER / data["for"]).exists():
        time.sleep(LOOK_SECONDS)
    print("and no newline", end="")  # noqa: T201 - a job that prints
    current_job.log("last word")


class Refusal(Exception):
    """An error that knows what it is about."""


@job("flaky")
def flaky(data: dict[str, Any]) -> str:
    """Fail so many times, then succeed."""
    note("try")
    if current_job.attempt <= data["fails"]:
        raise Refusal(f"try {current_job.attempt}")
    return "at last"


@job("stepped", attempts=4, backoff=lambda attempt, error: [0.2, 0.0, 0.1][attempt - 1])
def stepped(data: dict[str, Any]) -> None:
    """Its backoff is a function."""
    note("try")
    raise Refusal("again")


@job("picky", attempts=5, backoff=lambda attempt, error: -1 if "final" in str(error) else 0.01)
def picky(data: dict[str, Any]) -> None:
    """Its backoff ends it when it sees a final error."""
    note("try")
    raise Refusal("final" if current_job.attempt == 2 else "passing")


@job("doomed", attempts=5, backoff=Fixed(0.01))
def doomed(data: dict[str, Any]) -> None:
    """Fail for good at the first try."""
    note("try")
    raise Unrecoverable("there is no hope")


@job("later", attempts=2, backoff=Exponential(0.01))
def later(data: dict[str, Any]) -> str:
    """Come back so many times without spending an attempt; ``times`` None: for ever."""
    marks = FOLDER / f"later-{current_job.id}"
    count = len(marks.read_bytes()) if marks.exists() else 0
    if data["times"] is None or count < data["times"]:
        with marks.open("ab") as file:
            file.write(b".")
        note("try")
        if data.get("limit"):
            raise RateLimited(data["seconds"])
        raise RetryAfter(data["seconds"])
    note("end")
    return f"attempt {current_job.attempt}"


@job("fleeting", remove_on_complete=True)
def fleeting(data: dict[str, Any]) -> str:
    """Leaves nothing behind, unless a caller wants it to."""
    with noted():
        return "soon gone"


@job("leave")
def leave(data: dict[str, Any]) -> None:
    """Raise what no job should."""
    note("try")
    raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "memory": MemoryError()}[data["how"]]


@job("die")
def die(data: dict[str, Any]) -> None:
    """End its own process, without a word."""
    note("begin")
    os.kill(os.getpid(), 9)


@job("return")
def give(data: dict[str, Any]) -> object:
    """Return what JSON cannot say, or too much."""
    return {
        "object": object(),
        "nan": float("nan"),
        "large": "x" * 1_048_577,
        "just": "x" * 1_048_574,
        "surrogate": "\udcff",
    }[data["what"]]


class Mute(Refusal):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("mute")


@job("raise")
def complain(data: dict[str, Any]) -> None:
    """Raise an error that is hard to write down."""
    if data["what"] == "surrogate":
        raise Refusal("no such file: \udcff")
    if data["what"] == "long":
        raise Refusal("long " * 10_000)
    if data["what"] == "mute":
        raise Mute
    raise Refusal(object())


@job("outer", attempts=3)
def outer(data: dict[str, Any]) -> str:
    """Call another job as the function that it is."""
    try:
        picky(data)
    except Refusal as error:
        return f"saw {error}"
    return "saw nothing"


class Order(BaseModel):
    """What an ordered job takes."""

    number: int = Field(ge=1)


@job("ordered", queue="orders", attempts=3)
def ordered(data: Order) -> dict[str, Any]:
    """Takes a model."""
    note("try")
    return {"number": data.number, "type": type(data).__name__}


@job("soft", soft_timeout=2, timeout=timedelta(seconds=30))
def soft(data: dict[str, Any]) -> str:
    """Is reminded of its time, and may take note."""
    note("begin")
    try:
        while True:
            time.sleep(LOOK_SECONDS)
    except SoftTimeLimitExceeded:
        if data.get("heeds"):
            return "in time"
        raise


@shared_task(name="add")
def add(x: int, y: int = 1) -> int:
    """Plain Celery."""
    return x + y


@shared_task(name="moody", bind=True)
def moody(self: Task, x: int) -> int:
    """Plain Celery that fails, whoever submitted it."""
    note("try")
    if current_job.attempt < x:
        raise Refusal("not yet")
    return x


@control_command()
def upset(state: Any) -> dict[str, str]:
    """Have the event loop meet a store that is away, so that Celery's consumer starts anew."""
    state.consumer.hub.call_soon(_meet_a_store_that_is_away)
    return {"ok": "it will"}


def _meet_a_store_that_is_away() -> None:
    raise StoreUnavailable("as if it were away")
