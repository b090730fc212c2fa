"""Schedules: jobs that are made again and again."""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypedDict, Unpack

from backroom.client.answers.jobs import Job
from backroom.client.answers.schedules import Schedule
from backroom.client.channel import Channel, path_to
from backroom.client.options import Duration, NewJob, milliseconds, time_json
from backroom.client.pages import pages

__all__ = ["Rhythm", "Schedules"]


class Rhythm(TypedDict, total=False):
    """When a schedule makes its job: either ``pattern`` or ``every``, and what else there is to say."""

    #: Cron, of five fields, or of six with seconds first.
    pattern: str
    #: Seconds from one slot to the next.
    every: Duration
    #: The time zone that ``pattern`` is read in, such as ``Europe/Berlin``; UTC if left out.
    tz: str
    #: No slot before this time, and none after that one; both need a time zone.
    start: datetime
    end: datetime
    #: It is finished after so many jobs.
    limit: int
    #: Of slots that were missed, make up none, one, or all.
    misfire: Literal["skip", "one", "all"]
    #: False: leave a slot out while the last job waits or runs.
    overlap: bool
    paused: bool


def _same(value: object) -> object:
    return value


_WORDS: Final[Mapping[str, tuple[str, Callable[[Any], object]]]] = {
    "pattern": ("pattern", _same),
    "every": ("every", milliseconds),
    "tz": ("tz", _same),
    "start": ("startDate", time_json),
    "end": ("endDate", time_json),
    "limit": ("limit", _same),
    "misfire": ("misfire", _same),
    "overlap": ("overlap", _same),
    "paused": ("paused", _same),
}


class Schedules:
    """The schedules of a stack: `Backroom.schedules`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def list(self) -> list[Schedule]:
        """All schedules, by creation."""
        return [*pages(self._channel, "/v1/schedules", "schedules", Schedule.from_json)]

    def get(self, key: str) -> Schedule:
        """One schedule. Raises `NotFound`."""
        return self._channel.call("GET", path_to("v1", "schedules", key)).read(Schedule.from_json)

    def put(self, key: str, job: NewJob, **rhythm: Unpack[Rhythm]) -> Schedule:
        """Create a schedule, or replace it: ``put("nightly", NewJob("purge-artifacts"), pattern="0 3 * * *")``.

        ``rhythm``: see `Rhythm`. Raises `InvalidInput`, `TypeError` for a word that is none, `ValueError` for a time
        without a zone.
        """
        body: dict[str, object] = {"job": job.to_json()}
        for name, value in rhythm.items():
            if name not in _WORDS:
                raise TypeError(f"{name!r} says nothing about a schedule; there are {', '.join(_WORDS)}")
            word, convert = _WORDS[name]
            if value is not None:
                body[word] = convert(value)
        return self._channel.call("PUT", path_to("v1", "schedules", key), body=body).read(Schedule.from_json)

    def remove(self, key: str) -> None:
        """Remove a schedule; the jobs it has made stay. Raises `NotFound`."""
        self._channel.call("DELETE", path_to("v1", "schedules", key)).confirm()

    def pause(self, key: str) -> Schedule:
        """Make no more jobs until `resume`, which makes up nothing. Raises `NotFound`."""
        return self._channel.call("POST", path_to("v1", "schedules", key, "pause"), safe=True).read(Schedule.from_json)

    def resume(self, key: str) -> Schedule:
        """Go on with the first slot from now on. Raises `NotFound`."""
        return self._channel.call("POST", path_to("v1", "schedules", key, "resume"), safe=True).read(Schedule.from_json)

    def run(self, key: str) -> Job:
        """Make its job now, outside its slots. Raises `NotFound`."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._channel.call("POST", path_to("v1", "schedules", key, "run"), headers=headers).read(Job.from_json)
