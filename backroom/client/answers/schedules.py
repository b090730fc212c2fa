"""Schedules as one reads them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from backroom.client.answers.fields import Raw, time_of

__all__ = ["Fire", "Schedule"]


@dataclass(frozen=True, slots=True)
class Fire:
    """One time that a schedule has made its job."""

    #: When it was to be; None: somebody ran it by hand.
    slot: datetime | None
    #: When it was.
    at: datetime
    job_id: str

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(time_of(raw["slot"]), datetime.fromisoformat(raw["at"]), raw["jobId"])


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it was when it was read."""

    #: Its name; ``code:...`` for those that are defined with a job type: they can be paused, not edited.
    key: str
    #: Cron; None where ``every`` is given.
    pattern: str | None
    #: Seconds from one slot to the next; None where ``pattern`` is given.
    every: float | None
    #: The time zone that ``pattern`` is read in.
    tz: str
    #: The rhythm in words.
    description: str
    #: The job it makes, in the API's words: ``{name, data, queue, options}``.
    job: Raw
    start: datetime | None
    end: datetime | None
    #: It is finished after so many fires.
    limit: int | None
    #: What is done about missed slots: ``skip``, ``one`` or ``all``.
    misfire: str
    #: False: a slot is left out while the last job waits or runs.
    overlap: bool
    #: ``active``, ``paused`` or ``finished``.
    state: str
    #: The next five slots.
    next: tuple[datetime, ...]
    #: The newest first.
    last_fires: tuple[Fire, ...]
    fire_count: int
    raw: Raw = field(repr=False, compare=False)

    @property
    def paused(self) -> bool:
        """Whether it makes no jobs until it is resumed."""
        return self.state == "paused"

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        every = raw.get("every")
        return cls(
            key=raw["key"],
            pattern=raw.get("pattern"),
            every=None if every is None else every / 1000,
            tz=raw["tz"],
            description=raw["description"],
            job=raw["job"],
            start=time_of(raw.get("startDate")),
            end=time_of(raw.get("endDate")),
            limit=raw.get("limit"),
            misfire=raw["misfire"],
            overlap=raw["overlap"],
            state=raw["state"],
            next=tuple(datetime.fromisoformat(slot) for slot in raw["next"]),
            last_fires=tuple(Fire.from_json(fire) for fire in raw["lastFires"]),
            fire_count=raw["fireCount"],
            raw=raw,
        )
