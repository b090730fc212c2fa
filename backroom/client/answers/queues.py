"""Queues as one reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from backroom.client.answers.fields import Raw
from backroom.model.states import State

__all__ = ["Limits", "Queue", "Rate"]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``max`` jobs start in each window of ``seconds``."""

    max: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a queue, over all workers together; None: no such limit."""

    #: Jobs that run at once.
    concurrency: int | None
    rate: Rate | None
    #: Waiting and delayed jobs together; more are refused.
    max_length: int | None
    #: For how many more ms nothing starts because of a rate; None: nothing is held back.
    limited_for_ms: int | None

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words. A rate without numbers is one that a job has met, and no limit of the queue."""
        rate = raw.get("rate") or {}
        most, duration = rate.get("max"), rate.get("duration")
        return cls(
            concurrency=raw.get("concurrency"),
            rate=None if most is None or duration is None else Rate(most, duration / 1000),
            max_length=raw.get("maxLength"),
            limited_for_ms=rate.get("limitedForMs"),
        )


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as it was when it was read."""

    name: str
    paused: bool
    #: How many jobs are in each of the eight states.
    counts: Mapping[State, int]
    #: How long the oldest ready job has waited, in ms; None when none waits.
    oldest_waiting_ms: int | None
    limits: Limits
    #: Jobs a minute over the last minutes, such as ``completedPerMinute``.
    rates: Mapping[str, float]
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Raw) -> Self:
        """From the API's words."""
        return cls(
            name=raw["name"],
            paused=raw["paused"],
            counts={State(state): count for state, count in raw["counts"].items()},
            oldest_waiting_ms=raw.get("oldestWaitingMs"),
            limits=Limits.from_json(raw["limits"]),
            rates=raw.get("rates", {}),
            raw=raw,
        )
