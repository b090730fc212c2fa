"""Queues: what they hold, and pausing and limiting them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backroom.model.errors import InvalidInput, NotFound
from backroom.model.job import INTERNAL_QUEUE
from backroom.model.names import check_name
from backroom.model.states import State
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.records import ms_of_clock
from backroom.store.scripts import pack
from backroom.store.situations import SITUATION_FIELDS, situation_of

__all__ = ["Limits", "QueueView", "Queues", "Rate"]

#: Whole minutes that the rates of a queue are averaged over, beside the running one.
_RATE_MINUTES = 5
_RATES = ("submitted", "started", "completed", "failed")
MAX_LIMIT = 1_000_000
MAX_RATE_DURATION_MS = 7 * 86_400_000
MAX_LENGTH = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``max`` starts in a window of ``duration_ms``, which begins with the first start after the one before.

    As with BullMQ's, the end of one window and the begin of the next may see up to twice as many close together.
    """

    max: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a queue, each global over all workers; None: no such limit."""

    concurrency: int | None = None
    rate: Rate | None = None
    #: How many waiting and delayed jobs it takes.
    max_length: int | None = None
    #: For how many more ms nothing starts because of the rate (or a job that raised `RateLimited`), or None.
    limited_for_ms: int | None = None


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue as one reads it."""

    name: str
    paused: bool
    counts: dict[State, int]
    #: Age of the job that has waited longest among those next to run, in ms; None when none waits.
    oldest_waiting_ms: int | None
    limits: Limits
    #: Jobs a minute over the last minutes: submitted, started, completed, failed.
    rates: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The queue in JSON's words."""
        rate = self.limits.rate
        return {
            "name": self.name,
            "paused": self.paused,
            "counts": {str(state): number for state, number in self.counts.items()},
            "oldestWaitingMs": self.oldest_waiting_ms,
            "limits": {
                "concurrency": self.limits.concurrency,
                "rate": None
                if rate is None and self.limits.limited_for_ms is None
                else {
                    "max": rate.max if rate else None,
                    "duration": rate.duration_ms if rate else None,
                    "limitedForMs": self.limits.limited_for_ms,
                },
                "maxLength": self.limits.max_length,
            },
            "rates": self.rates,
        }


class Queues(Part):
    """A queue exists once it is named: paused, limited, or given a job."""

    def names(self, *, internal: bool = False) -> list[str]:
        """All queues by name; ``internal`` adds the one for internal jobs."""
        with store_errors():
            found = self._redis.zrange(self._keys.single("queues"), 0, -1)
        return sorted(name for name in found if internal or name != INTERNAL_QUEUE)

    def get(self, name: str) -> QueueView:
        """One queue. Raises `NotFound`."""
        with store_errors():
            known = self._redis.zscore(self._keys.single("queues"), name)
        if known is None:
            raise NotFound("queue", name)
        return self._views([name])[0]

    def pause(self, name: str) -> bool:
        """Start no more jobs of the queue; running ones go on. False if it was paused already."""
        return bool(self._run("pause", check_name(name, "/queue"), "1"))

    def resume(self, name: str) -> bool:
        """Undo `pause`. False if it was not paused."""
        return bool(self._run("pause", check_name(name, "/queue"), "0"))

    def set_limits(
        self, name: str, *, concurrency: int | None = None, rate: Rate | None = None, max_length: int | None = None
    ) -> None:
        """Replace the queue's limits; what is None is unlimited. Raises `InvalidInput` for values out of range."""
        check_name(name, "/queue")
        wanted = [
            ("concurrency", "/concurrency", concurrency, MAX_LIMIT),
            ("rateMax", "/rate/max", rate.max if rate else None, MAX_LIMIT),
            ("rateDuration", "/rate/duration", rate.duration_ms if rate else None, MAX_RATE_DURATION_MS),
            ("maxLength", "/maxLength", max_length, MAX_LENGTH),
        ]
        for _, pointer, value, most in wanted:
            if value is not None and not 1 <= value <= most:
                raise InvalidInput.at(pointer, "out-of-range", f"must be an integer from 1 to {most}")
        self._run("limits", name, pack({field: value for field, _, value, _ in wanted if value is not None}))

    def clear_limits(self, name: str) -> None:
        """Take all limits away; a tripped rate ends at once."""
        self.set_limits(name)

    def _views(self, names: Sequence[str]) -> list[QueueView]:
        """The views of several queues in two round trips."""
        if not names:
            return []
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.time()
            for name in names:
                pipeline.hmget(self._keys.queue(name), *SITUATION_FIELDS, "maxLength")
                pipeline.zrange(self._keys.state(name, State.WAITING), 0, 0)
                for state in State:
                    pipeline.zcard(self._keys.state(name, state))
            clock, *answers = pipeline.execute()
            now_ms = ms_of_clock(clock)
            pipeline = self._redis.pipeline(transaction=False)
            width = 2 + len(State)
            for place, name in enumerate(names):
                first = answers[place * width + 1]
                pipeline.hget(self._keys.job(first[0] if first else ""), "ready")
                for minutes_ago in range(_RATE_MINUTES + 1):
                    pipeline.hmget(self._keys.rates(name, now_ms // 60_000 - minutes_ago), *_RATES)
            further = pipeline.execute()
        views = []
        for place, name in enumerate(names):
            meta, _, *counts = answers[place * width : (place + 1) * width]
            ready, *minutes = further[place * (2 + _RATE_MINUTES) : (place + 1) * (2 + _RATE_MINUTES)]
            views.append(_view(name, meta, counts, ready, minutes, now_ms))
        return views

    def list(self) -> list[QueueView]:
        """Every queue but the internal one, by name."""
        return self._views(self.names())


def _view(
    name: str, meta: Sequence[str | None], counts: Sequence[int], ready: str | None, minutes: Sequence[Any], now_ms: int
) -> QueueView:
    *situation_fields, max_length = meta
    by_state = dict(zip(State, counts, strict=True))
    situation = situation_of(situation_fields, by_state[State.ACTIVE], now_ms)
    rate_max, duration = situation_fields[2:4]
    until = situation.limited_until
    span = _RATE_MINUTES + now_ms % 60_000 / 60_000
    rates = {
        f"{what}PerMinute": round(sum(int(minute[at] or 0) for minute in minutes) / span, 2)
        for at, what in enumerate(_RATES)
    }
    return QueueView(
        name=name,
        paused=situation.paused,
        counts=by_state,
        oldest_waiting_ms=max(0, now_ms - int(ready)) if ready else None,
        limits=Limits(
            concurrency=situation.concurrency,
            rate=Rate(int(rate_max), int(duration)) if rate_max and duration else None,
            max_length=int(max_length) if max_length else None,
            limited_for_ms=until - now_ms if until is not None else None,
        ),
        rates=rates,
    )
