"""How a job ends, and what it leaves to others."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from backroom import Unrecoverable
from backroom.model.names import is_name

__all__ = ["follow_up_id", "unrecoverable"]


@contextmanager
def unrecoverable(*errors: type[Exception]) -> Iterator[None]:
    """Fail the job at once on ``errors``: those that another try would only meet again."""
    try:
        yield
    except errors as error:
        raise Unrecoverable(str(error)) from error


def follow_up_id(job_id: str, word: str) -> str:
    """The id of a job that the job ``job_id`` submits: always the same, so that a retry does not submit it twice."""
    readable = f"{job_id}.{word}"
    return readable if is_name(readable) else f"{hashlib.sha256(job_id.encode()).hexdigest()}.{word}"
