"""API keys that were made over HTTP: how they are written, and how a process knows them.

A key is ``brk_<id>_<secret>``. The secret has 160 random bits, so that nobody finds it by trying, and a plain SHA-256
of the key is as good as a slow hash, which is for passwords that people think of. The id is no secret: it tells which
key is meant, so that one comparison, in constant time, is enough.
"""

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import structlog

from backroom.model.errors import StoreUnavailable
from backroom.store.api_keys import KeyRecord, KeyRecords

__all__ = ["KeyRing", "KeyStore", "NewKey", "key_digest", "key_prefix"]

T = TypeVar("T")

log = structlog.get_logger("backroom.api")

_PREFIX: Final = "brk_"
_KEY: Final = re.compile(r"brk_([a-z2-7]{12})_[a-z2-7]{32}\Z")
_ID_BYTES, _SECRET_BYTES = 8, 20
USED_SECONDS: Final = 60.0
"""That a key is used is written down so often at most, by each process."""
_NOTHING: Final = b"\0" * 32


def key_digest(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def key_prefix(key_id: str) -> str:
    """How the key of this id begins: what tells which one it is, and gives nothing away."""
    return f"{_PREFIX}{key_id}"


def _letters(count: int) -> str:
    return base64.b32encode(secrets.token_bytes(count)).decode().rstrip("=").lower()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made."""

    id: str
    text: str

    @classmethod
    def make(cls) -> "NewKey":
        """A key that nobody has."""
        key_id = _letters(_ID_BYTES)[:12]
        return cls(key_id, f"{key_prefix(key_id)}_{_letters(_SECRET_BYTES)}")


class KeyStore(Protocol):
    """Where keys are kept: `backroom.store.api_keys.ApiKeys`."""

    def read(self, known: str = "") -> KeyRecords | None:
        """All keys; None if they are those of the version that is ``known``."""

    def use(self, key_id: str) -> None:
        """Note that a key is in use."""


@dataclass(frozen=True, slots=True)
class _Known(Generic[T]):
    digest: bytes
    expires_at: int | None
    owner: T


class KeyRing(Generic[T]):
    """The keys as one process knows them: at most ``fresh_seconds`` old. Threads may share it.

    ``owner`` makes of a record what `find` finds. While the store is away, the keys that were read before stay good.
    """

    def __init__(
        self,
        store: KeyStore,
        owner: Callable[[KeyRecord], T],
        *,
        fresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._owner, self._fresh_seconds, self._clock = store, owner, fresh_seconds, clock
        self._lock = threading.Lock()
        self._version = ""
        self._keys: Mapping[str, _Known[T]] = {}
        self._looked_at = float("-inf")
        #: Why they could not be read the last time.
        self._failure: StoreUnavailable | None = None
        self._has_had_keys = False
        self._noted: dict[str, float] = {}

    def has_keys(self) -> bool:
        """Whether there are keys, or have been: a store that lost them must not leave the door open.

        Raises `StoreUnavailable` if that was never known.
        """
        self._look(older_than=self._clock() - self._fresh_seconds)
        return self._has_had_keys

    def find(self, key: str) -> T | None:
        """Whose key this is; None if it is none, or not any more. One that is new is known at once.

        Raises `StoreUnavailable` where that cannot be told.
        """
        form = _KEY.match(key)
        if form is None:
            return None
        asked = self._clock()
        self._look(older_than=asked - self._fresh_seconds)
        known = self._keys.get(form[1])
        if known is None:
            self._look(older_than=asked, strictly=True)
            known = self._keys.get(form[1])
        is_it = hmac.compare_digest(_NOTHING if known is None else known.digest, key_digest(key))
        if known is None or not is_it or (known.expires_at is not None and known.expires_at <= time.time() * 1000):
            return None
        self._note(form[1], asked)
        return known.owner

    def forget(self) -> None:
        """Read the keys anew when they are next asked for: this process has changed them."""
        self._looked_at = float("-inf")

    def _look(self, *, older_than: float, strictly: bool = False) -> None:
        """Read the keys unless that was begun after ``older_than``.

        If they cannot be read, those of before will do; unless there are none, or ``strictly`` not.
        """
        if self._looked_at <= older_than:
            with self._lock:
                if self._looked_at <= older_than:
                    self._read()
        failure = self._failure
        if failure is not None and (strictly or not self._version):
            raise failure

    def _read(self) -> None:
        began = self._clock()
        try:
            found = self._store.read(self._version)
        except StoreUnavailable as error:
            # Counted from its end: that it took so long is no reason for the next to try at once.
            self._looked_at, self._failure = self._clock(), error
            return
        self._looked_at, self._failure = began, None
        if found is None:
            return
        self._version = found.version
        self._keys = {
            key_id: _Known(bytes.fromhex(record.digest), record.expires_at, self._owner(record))
            for key_id, record in found.keys.items()
        }
        if self._has_had_keys and not self._keys:
            log.warning("the API keys in the store are gone: the stack stays closed until the API is started anew")
        self._has_had_keys = self._has_had_keys or bool(self._keys)

    def _note(self, key_id: str, now: float) -> None:
        if now - self._noted.get(key_id, float("-inf")) >= USED_SECONDS:
            self._noted[key_id] = now
            with suppress(StoreUnavailable):
                self._store.use(key_id)
