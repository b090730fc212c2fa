"""Job types: what the running workers offer, published by them."""

import json
from collections.abc import Sequence
from typing import Any

from backroom.model.job_types import JobType
from backroom.store.connection import store_errors
from backroom.store.part import Part

__all__ = ["JobTypes"]


class JobTypes(Part):
    """``types`` is a hash name -> JSON; ``types:seen`` says when a type was last offered; ``types:of:<worker>`` who offers what."""

    def publish(self, worker: str, types: Sequence[JobType], *, ttl_seconds: int) -> None:
        """Offer job types on behalf of a worker, until `ttl_seconds` after the last time this is called."""
        if not types:
            return
        with store_errors():
            seconds, _ = self._redis.time()
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.hset(self._keys.single("types"), mapping={each.name: _encode(each) for each in types})
            pipeline.zadd(self._keys.single("types:seen"), {each.name: int(seconds) + ttl_seconds for each in types})
            pipeline.set(self._keys.single(f"types:of:{worker}"), json.dumps([each.name for each in types]), ex=ttl_seconds)
            pipeline.execute()

    def touch(self, worker: str, names: Sequence[str], *, ttl_seconds: int) -> None:
        """Keep offering what `publish` published."""
        if not names:
            return
        with store_errors():
            seconds, _ = self._redis.time()
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zadd(self._keys.single("types:seen"), dict.fromkeys(names, int(seconds) + ttl_seconds))
            pipeline.expire(self._keys.single(f"types:of:{worker}"), ttl_seconds)
            pipeline.execute()

    def get(self, name: str) -> JobType | None:
        """One job type, or None when nobody offers it."""
        return next((each for each in self.list() if each.name == name), None)

    def ever_published(self) -> bool:
        """Whether any worker has ever published a job type to this store."""
        with store_errors():
            return bool(self._redis.exists(self._keys.single("types")))

    def forget_expired(self) -> int:
        """Drop the types that no worker has offered for their time. Returns how many."""
        with store_errors():
            seconds, _ = self._redis.time()
            names = self._redis.zrange(self._keys.single("types:seen"), "-inf", int(seconds), byscore=True)  # type: ignore[arg-type]  # bounds may be text
            if names:
                pipeline = self._redis.pipeline(transaction=True)
                pipeline.zrem(self._keys.single("types:seen"), *names)
                pipeline.hdel(self._keys.single("types"), *names)
                pipeline.execute()
        return len(names)

    def list(self) -> list[JobType]:
        """All job types on offer, by name."""
        with store_errors():
            seconds, _ = self._redis.time()
            seen = self._redis.zrange(self._keys.single("types:seen"), f"({seconds}", "+inf", byscore=True)  # type: ignore[arg-type]  # bounds may be text
            texts = self._redis.hmget(self._keys.single("types"), seen) if seen else []
            workers = self._redis.zrange(self._keys.single("workers"), int(seconds) * 1000, "+inf", byscore=True)  # type: ignore[arg-type]  # bounds may be text
            offers = self._redis.mget([self._keys.single(f"types:of:{worker}") for worker in workers]) if workers else []
        numbers: dict[str, int] = {}
        for offer in offers:
            for name in json.loads(offer or "[]"):
                numbers[name] = numbers.get(name, 0) + 1
        return sorted((_decode(text, numbers) for text in texts if text), key=lambda each: each.name)


def _encode(each: JobType) -> str:
    view: dict[str, Any] = each.to_dict()
    del view["workers"]
    return json.dumps(view, separators=(",", ":"))


def _decode(text: str, numbers: dict[str, int]) -> JobType:
    view = json.loads(text)
    return JobType(**view, workers=numbers.get(view["name"], 0))
