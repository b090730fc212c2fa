"""What queues do to their waiting jobs at the moment: paused, limited, or at their concurrency."""

from collections.abc import Iterable, Sequence

from redis import Redis

from backroom.store.keys import Keys
from backroom.store.records import QueueSituation, ms_of_clock

__all__ = ["SITUATION_FIELDS", "read_situations", "situation_of"]

#: The fields of a queue's hash that `situation_of` takes, in this order.
SITUATION_FIELDS = ("paused", "concurrency", "rateMax", "rateDuration", "windowEnd", "windowCount", "limitedUntil")


def situation_of(meta: Sequence[str | None], active: int, now_ms: int) -> QueueSituation:
    """From the fields `SITUATION_FIELDS` of a queue."""
    paused, concurrency, rate_max, duration, window_end, window_count, limited = meta
    until = int(limited or 0)
    if rate_max and int(window_count or 0) >= int(rate_max):
        end = int(window_end or 0)
        if end <= now_ms + int(duration or 0) + 1:  # else it is none: see `meta` in `scripts/shared/queues.lua`
            until = max(until, end)
    return QueueSituation(
        paused=paused == "1",
        limited_until=until if until > now_ms else None,
        concurrency=int(concurrency) if concurrency else None,
        active=active,
    )


def read_situations(redis: Redis, keys: Keys, queues: Iterable[str]) -> dict[str, QueueSituation]:
    """The situations of several queues, in one round trip."""
    names = list(dict.fromkeys(queues))
    pipeline = redis.pipeline(transaction=False)
    pipeline.time()
    for name in names:
        pipeline.hmget(keys.queue(name), *SITUATION_FIELDS)
        pipeline.zcard(keys.state(name, "active"))
    clock, *answers = pipeline.execute()
    now_ms = ms_of_clock(clock)
    return {name: situation_of(answers[2 * place], answers[2 * place + 1], now_ms) for place, name in enumerate(names)}
