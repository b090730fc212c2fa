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

#: The pause before a subscriber that lost its connection tries again, in seconds.
AGAIN_SECONDS = 0.5
#: How soon a subscriber notices that it is to listen to something else, or to stop, in seconds.
LISTEN_SECONDS = 0.2


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

    ``redis`` is its own: it closes it at the end. The thread starts with the first exchange that is wanted.
    """

    def __init__(self, redis: Redis, prefix: str, deliver: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__(name="backroom-subscriber", daemon=True)
        self._redis = redis
        self._listener = Listener(redis, prefix)
        self._deliver = deliver
        self._news = threading.Condition()
        self._stopped = False
        self._wanted: frozenset[str] = frozenset()
        self._heard: frozenset[str] = frozenset()

    def want(self, exchanges: frozenset[str], patience: float) -> None:
        """Listen to these exchanges. Returns when it does, or after ``patience`` seconds."""
        with self._news:
            self._wanted = exchanges
            if exchanges and self.ident is None:
                self.start()
            self._news.notify_all()
            if self.ident is not None:
                self._news.wait_for(lambda: self._stopped or self._heard >= self._wanted, patience)

    def stop(self) -> None:
        """End soon; does not wait."""
        with self._news:
            self._stopped = True
            self._news.notify_all()

    def run(self) -> None:
        """Listen until stopped."""
        while not self._stopped:
            try:
                self._listen()
            except StoreUnavailable:
                self._pause()
            except Exception:
                logger.exception("the subscriber stumbled and goes on")
                self._pause()
        self._listener.close()
        self._redis.close()

    def _listen(self) -> None:
        with self._news:
            wanted = self._wanted
            if not wanted:
                self._heard = wanted
                self._news.wait_for(lambda: self._stopped or self._wanted)
                return
        heard = self._listener.hear(set(wanted), LISTEN_SECONDS)
        if wanted != self._heard:
            with self._news:
                self._heard = wanted
                self._news.notify_all()
        if heard is not None:
            self._deliver(*heard)

    def _pause(self) -> None:
        self._listener.close()
        with self._news:
            self._heard = frozenset()
            self._news.wait_for(lambda: self._stopped, AGAIN_SECONDS)
