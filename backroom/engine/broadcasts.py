"""Listening to broadcasts: Celery's remote control and task events, over Redis' pub/sub."""

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from redis import Redis

from backroom.model.errors import StoreUnavailable
from backroom.store.connection import store_errors

__all__ = ["Listener", "Subscriber"]

logger = logging.getLogger(__name__)

#: A subscriber that lost its connection tries again, and notices other subscriptions, this often, in seconds.
AGAIN_SECONDS = 0.5


class Listener:
    """A subscription to exchanges; the Redis channel of each begins with ``prefix``. One thread's."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis, self._prefix = redis, prefix
        self._pubsub: Any = None
        self._subscribed: set[str] = set()

    def hear(self, wanted: set[str], seconds: float) -> tuple[str, dict[str, Any]] | None:
        """The next broadcast of a wanted exchange, waiting so long for it: (exchange, message).

        Subscribes to what is wanted first; a broadcast is heard from then on. Raises `StoreUnavailable`.
        """
        with store_errors():
            if self._pubsub is None:
                self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            if new := wanted - self._subscribed:
                self._pubsub.subscribe(*(self._prefix + exchange for exchange in new))
            if gone := self._subscribed - wanted:
                self._pubsub.unsubscribe(*(self._prefix + exchange for exchange in gone))
            self._subscribed = set(wanted)
            found = self._pubsub.get_message(timeout=seconds)
        if not found or found["type"] != "message":
            return None
        return str(found["channel"]).removeprefix(self._prefix), json.loads(found["data"])

    def close(self) -> None:
        """Listen no more; `hear` begins anew."""
        if self._pubsub is not None:
            self._pubsub.close()
        self._pubsub, self._subscribed = None, set()


class Subscriber(threading.Thread):
    """Listens in a thread of its own, whatever happens to the connection; calls ``deliver(exchange, message)``.

    ``redis`` is its own: it closes it at the end.
    """

    def __init__(self, redis: Redis, prefix: str, deliver: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__(name="backroom-subscriber", daemon=True)
        self._redis = redis
        self._listener = Listener(redis, prefix)
        self._deliver = deliver
        self._stopped = threading.Event()
        #: The exchanges to listen to; replaced as a whole.
        self.wanted: frozenset[str] = frozenset()

    def stop(self) -> None:
        """End soon; does not wait."""
        self._stopped.set()

    def run(self) -> None:
        """Listen until stopped."""
        while not self._stopped.is_set():
            wanted = set(self.wanted)
            try:
                if not wanted:
                    self._stopped.wait(AGAIN_SECONDS)
                elif heard := self._listener.hear(wanted, AGAIN_SECONDS):
                    self._deliver(*heard)
            except StoreUnavailable:
                self._listener.close()
                self._stopped.wait(AGAIN_SECONDS)
            except Exception:
                logger.exception("the subscriber stumbled and goes on")
                self._listener.close()
                self._stopped.wait(AGAIN_SECONDS)
        self._listener.close()
        self._redis.close()
