"""What every part of the store is made of."""

from typing import Any

from redis import Redis

from backroom.store.connection import store_errors
from backroom.store.keys import Keys
from backroom.store.scripts import ScriptRunner

__all__ = ["Part"]


class Part:
    """A part of the store: a connection, the keys and the scripts."""

    def __init__(self, redis: Redis, keys: Keys, scripts: ScriptRunner) -> None:
        self._redis, self._keys, self._scripts = redis, keys, scripts

    def _run(self, script: str, *arguments: Any) -> Any:
        with store_errors():
            return self._scripts.run(self._redis, script, *arguments)
