"""How the model's objects look in answers."""

import re
import zlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from backroom.model.job import Job, job_links
from backroom.model.states import FINISHED

__all__ = ["RETRY_SECONDS", "job_etag", "job_links", "job_view", "unfinished_headers", "versions_in"]

_STRONG_TAG: Final = re.compile(r'(?:^|,)\s*"([^"-]*)-[^"]*"')
RETRY_SECONDS: Final = 1
"""``Retry-After`` of a job that is not finished: when asking again may be worth it."""


def job_view(job: Job) -> dict[str, Any]:
    """A job as every answer shows it."""
    return {**job.to_dict(), "links": job_links(job.id)}


def job_etag(job: Job) -> str:
    """The entity tag of the single-job view: the job's version, and why it waits, which changes without the job."""
    reason = zlib.crc32(orjson.dumps(job.state_reason)) if job.state_reason else 0
    return f'"{job.version}-{reason:x}"'


def versions_in(if_match: str) -> set[str]:
    """The versions of a job in an ``If-Match`` header.

    Why the job waits is no part of them: a queue that is paused meanwhile has not changed the job. Weak tags match
    nothing (RFC 9110, 13.1.1).
    """
    return {found[1] for found in _STRONG_TAG.finditer(if_match)}


def unfinished_headers(job: Job) -> Mapping[str, str]:
    """A hint when to ask again, while there is anything to wait for."""
    return {} if job.state in FINISHED else {"Retry-After": str(RETRY_SECONDS)}
