"""API keys that were made over HTTP. Of a key itself only a digest is kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backroom.model.errors import InvalidInput, KeysFull, LastAdminKey, NameTaken, NotFound
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.scripts import pack

__all__ = ["MAX_API_KEYS", "ApiKeys", "KeyRecord", "KeyRecords"]

#: Every process of the API holds all of them.
MAX_API_KEYS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is kept of an API key; times are ms since 1970."""

    id: str
    name: str
    #: SHA-256 of the key, in hexadecimal digits.
    digest: str
    roles: tuple[str, ...]
    #: The queues and the job types it is bound to; None: all.
    queues: tuple[str, ...] | None
    job_types: tuple[str, ...] | None
    created_at: int
    #: The name of the key that it was made with.
    created_by: str
    #: None: it does not end.
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class KeyRecords:
    """All keys, and the version of the whole, which changes with every change."""

    version: str
    keys: Mapping[str, KeyRecord]


class ApiKeys(Part):
    """``api-keys`` is a hash id -> JSON; beside it: the ids by name, those of admins, when each was used, a version."""

    def create(
        self, key_id: str, *, name: str, digest: str, roles: Sequence[str], queues: Sequence[str] | None,
        job_types: Sequence[str] | None, expires_at: int | None, created_by: str, admins_elsewhere: bool,
    ) -> KeyRecord:  # fmt: skip
        """Keep a new key.

        ``admins_elsewhere``: there are admin keys that are not in the store. Raises `NameTaken`, `KeysFull`, and
        `InvalidInput` for a first key that is no admin's or that ends.
        """
        record: dict[str, Any] = {"name": name, "digest": digest, "roles": list(roles), "createdBy": created_by}
        optional = {"queues": queues, "jobTypes": job_types, "expires": expires_at}
        record |= {word: value for word, value in optional.items() if value is not None}
        lasting = "admin" in roles and expires_at is None
        answer = self._run(
            "create_api_key",
            key_id,
            pack(record),
            "1" if lasting else "0",
            "1" if admins_elsewhere else "0",
            MAX_API_KEYS,
        )
        match answer:
            case "taken":
                raise NameTaken("key", name)
            case "full":
                raise KeysFull(MAX_API_KEYS)
            case "first":
                raise InvalidInput.at(
                    "/roles" if "admin" not in roles else "/expiresAt",
                    "first-key",
                    "the first key must have the role admin and no end: from then on only an admin can make others",
                )
        return _record(key_id, {**record, "created": answer})

    def revoke(self, key_id: str, *, admins_elsewhere: bool) -> None:
        """Take a key out of use. Raises `NotFound`, `LastAdminKey`."""
        match self._run("revoke_api_key", key_id, "1" if admins_elsewhere else "0"):
            case "missing":
                raise NotFound("key", key_id)
            case "last":
                raise LastAdminKey

    def read(self, known: str = "") -> KeyRecords | None:
        """All keys; None if they are those of the version that is ``known``."""
        with store_errors():
            if known and (self._redis.get(self._keys.single("api-keys:version")) or "none") == known:
                return None
            # The version first: of a change in between we have its keys under the old version, and read them again. No
            # MULTI, which is refused at the memory limit.
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(self._keys.single("api-keys:version"))
            pipeline.hgetall(self._keys.single("api-keys"))
            version, records = pipeline.execute()
        return KeyRecords(version or "none", {each: _record(each, json.loads(text)) for each, text in records.items()})

    def used(self) -> Mapping[str, int]:
        """When the keys were used, as far as `use` was told: ms since 1970."""
        with store_errors():
            times = self._redis.hgetall(self._keys.single("api-keys:used"))
        return {key_id: int(at) for key_id, at in times.items()}

    def use(self, key_id: str) -> None:
        """Note that a key is in use."""
        self._run("use_api_key", key_id)


def _record(key_id: str, raw: Mapping[str, Any]) -> KeyRecord:
    queues, job_types, expires = raw.get("queues"), raw.get("jobTypes"), raw.get("expires")
    return KeyRecord(
        id=key_id,
        name=raw["name"],
        digest=raw["digest"],
        roles=tuple(raw["roles"]),
        queues=None if queues is None else tuple(queues),
        job_types=None if job_types is None else tuple(job_types),
        created_at=int(raw["created"]),
        created_by=raw["createdBy"],
        expires_at=None if expires is None else int(expires),
    )
