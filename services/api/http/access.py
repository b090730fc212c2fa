"""Who may do what: API keys with roles, or, without keys, the checks that keep other web sites out."""

import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from werkzeug.wrappers import Request

from backroom.model.names import NAME_PATTERN
from backroom.settings import Settings
from backroom.store.api_keys import KeyRecord
from services.api.http.keys import KeyRing, KeyStore, key_digest
from services.api.http.problems import Problem

__all__ = [
    "EVERYBODY",
    "NOBODY",
    "NO_LISTS_FOR_ADMINS",
    "Access",
    "ConfiguredKey",
    "Guard",
    "Principal",
    "Role",
    "unauthorized",
]

Role = Literal["submit", "read", "operate", "admin"]

_OWN_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Access(StrEnum):
    """What an operation needs of its caller."""

    PUBLIC = "public"
    SUBMIT = "submit"
    #: Reading single jobs, which those who submit them may as well.
    READ_JOB = "read-job"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


_SUBMIT: Final = frozenset({Access.SUBMIT, Access.READ_JOB})
_READ: Final = frozenset({Access.READ, Access.READ_JOB})
_GRANTS: Final[Mapping[str, frozenset[Access]]] = {
    "submit": _SUBMIT,
    "read": _READ,
    "operate": _SUBMIT | _READ | {Access.OPERATE},
    "admin": frozenset(Access),
}


NO_LISTS_FOR_ADMINS: Final = "an admin key has no lists: it could make itself another key without them"


#: Queues or job types that a key is bound to. An empty list would be a key for nothing, or, misread, for everything.
_Names = Annotated[list[Annotated[str, Field(pattern=NAME_PATTERN)]], Field(min_length=1)]


class ConfiguredKey(BaseModel):
    """One entry of ``BACKROOM_API_KEYS``."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, regex_engine="python-re")

    name: Annotated[str, Field(min_length=1, max_length=128)]
    key: Annotated[str, Field(min_length=16, max_length=512, pattern=r"^[!-~]+$", repr=False)]
    roles: Annotated[list[Role], Field(min_length=1)]
    queues: _Names | None = None
    job_types: _Names | None = None

    @model_validator(mode="after")
    def _admins_have_no_lists(self) -> Self:
        if "admin" in self.roles and (self.queues is not None or self.job_types is not None):
            raise ValueError(NO_LISTS_FOR_ADMINS)
        return self

    def principal(self) -> "Principal":
        """Who comes with this key."""
        return Principal(
            self.name,
            _granted(self.roles),
            None if self.queues is None else frozenset(self.queues),
            None if self.job_types is None else frozenset(self.job_types),
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Without keys everybody is the same principal, who may do everything."""

    name: str
    grants: frozenset[Access]
    #: The queues it is bound to; None for all.
    queues: frozenset[str] | None = None
    #: The job types it is bound to; None for all.
    job_types: frozenset[str] | None = None
    #: The id of its key, if that was made over HTTP.
    key_id: str | None = None

    @property
    def is_everybody(self) -> bool:
        """Whether there are no keys, so that nobody knows who asks."""
        return self is EVERYBODY

    @property
    def is_known(self) -> bool:
        """Whether it may do anything that not everybody may."""
        return self.grants != NOBODY.grants

    @property
    def scope(self) -> str:
        """What keeps its idempotency keys and its budget apart from those of others."""
        return self.name if self.key_id is None else f"key {self.key_id}"

    @property
    def bound(self) -> bool:
        """Whether it may touch some queues or job types only."""
        return self.queues is not None or self.job_types is not None

    def is_for_queue(self, queue: str) -> bool:
        """Whether the queue is on its list, if it has one."""
        return self.queues is None or queue in self.queues

    def is_for_type(self, name: str) -> bool:
        """Whether the job type is on its list, if it has one."""
        return self.job_types is None or name in self.job_types

    def may_touch(self, *, queue: str, name: str) -> bool:
        """Whether a job of this queue and type is any business of this principal."""
        return self.is_for_queue(queue) and self.is_for_type(name)


#: Who asks without a key, where there are keys.
NOBODY: Final = Principal("nobody", frozenset({Access.PUBLIC}))
#: Everybody, where there are none.
EVERYBODY: Final = Principal("open", frozenset(Access))


def _granted(roles: Sequence[str]) -> frozenset[Access]:
    return frozenset().union({Access.PUBLIC}, *(_GRANTS[role] for role in roles))


def _read_keys(settings: Settings) -> list[ConfiguredKey]:
    source, text = _key_text(settings)
    if text is None:
        return []
    try:
        keys = TypeAdapter(list[ConfiguredKey]).validate_python(json.loads(text))
    except ValidationError as error:
        wrong = "; ".join(f"{'/'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ValueError(f"{source} is not a list of keys: {wrong}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON: {error}") from None
    if not keys:
        raise ValueError(f"{source} is an empty list: leave it out for open mode")
    if twice := [name for name, times in Counter(key.name for key in keys).items() if times > 1]:
        raise ValueError(f"{source} has several keys of the name {twice[0]!r}: each needs a name of its own")
    if len({key.key for key in keys}) < len(keys):
        raise ValueError(f"{source} has the same key under several names")
    return keys


def _key_text(settings: Settings) -> tuple[str, str | None]:
    """The variable that names the keys, and their JSON; None where there are none."""
    if settings.api_keys_file is None:
        return "BACKROOM_API_KEYS", settings.api_keys
    source = "BACKROOM_API_KEYS_FILE"
    if settings.api_keys is not None:
        raise ValueError(f"BACKROOM_API_KEYS and {source} are both set: leave one out")
    try:
        return source, Path(settings.api_keys_file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{source} cannot be read: {error}") from None


def _principal_of(record: KeyRecord) -> Principal:
    """Who comes with a key that was made over HTTP; a role that this version does not know grants nothing."""
    return Principal(
        record.name,
        _granted([role for role in record.roles if role in _GRANTS]),
        None if record.queues is None else frozenset(record.queues),
        None if record.job_types is None else frozenset(record.job_types),
        record.id,
    )


@lru_cache(maxsize=256)  # a client sends the same one with every request
def _host_of(authority: str) -> str:
    """The host name of ``host:port``, in lower case, without brackets and final dot; empty for nonsense."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class Guard:
    """Decides who a request comes from, and refuses what another web site may have made a browser send."""

    def __init__(self, settings: Settings, store: KeyStore, *, fresh_seconds: float) -> None:
        """``fresh_seconds``: how soon it is known here that another process has made or revoked a key."""
        #: The keys of the environment.
        self.configured: Sequence[ConfiguredKey] = _read_keys(settings)
        #: The keys that were made over HTTP.
        self.ring: KeyRing[Principal] = KeyRing(store, _principal_of, fresh_seconds=fresh_seconds)
        self._principals = [(key_digest(key.key), key.principal()) for key in self.configured]
        self._allowed = frozenset(host.lower() for host in settings.allowed_hosts)

    def is_closed(self) -> bool:
        """Whether there are keys; else everybody may do everything from this machine.

        Raises `StoreUnavailable` where the store was never asked.
        """
        return bool(self._principals) or self.ring.has_keys()

    @property
    def has_configured_admin(self) -> bool:
        """Whether the environment has an admin key."""
        return any("admin" in key.roles for key in self.configured)

    def identify(self, request: Request) -> Principal:
        """The principal behind the request; one without rights if it has no key.

        Raises `Problem` (401), and `StoreUnavailable` where it cannot be told.
        """
        authorization = request.environ.get("HTTP_AUTHORIZATION")
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            key = key.strip()
            found = self._configured(key) or self.ring.find(key)
            if found is not None:
                return found
        if not self.is_closed():
            return EVERYBODY
        if authorization is None:
            return NOBODY
        raise unauthorized("This key is not one of this stack's.")

    def _configured(self, key: str) -> Principal | None:
        found, digest = None, key_digest(key)
        for known, principal in self._principals:  # all of them, always: the time taken tells nothing
            if hmac.compare_digest(known, digest):
                found = principal
        return found

    def check_origin(self, request: Request) -> None:
        """In open mode, refuse a foreign ``Host``, and writes on behalf of a foreign site.

        Raises `Problem` (403), `StoreUnavailable`.
        """
        if self.is_closed():
            return
        authority = request.environ.get("HTTP_HOST", "")
        if not self._is_own(authority):
            raise Problem("foreign-request", f"This stack does not answer to the host {authority!r}.")
        if request.method in _SAFE_METHODS:
            return
        origin = request.environ.get("HTTP_ORIGIN")
        if origin is not None and not self._same_origin(origin, authority):
            raise Problem("foreign-request", f"Writes from the origin {origin!r} are refused.")
        site = request.environ.get("HTTP_SEC_FETCH_SITE", "none")
        if site not in {"same-origin", "none"}:
            raise Problem("foreign-request", f"Writes with Sec-Fetch-Site: {site} are refused.")

    def _is_own(self, authority: str) -> bool:
        return _host_of(authority) in _OWN_HOSTS or self._is_allowed(authority)

    def _is_allowed(self, authority: str) -> bool:
        return _host_of(authority) in self._allowed or authority.lower() in self._allowed

    def _same_origin(self, origin: str, authority: str) -> bool:
        """Same host and port; or a host the operator named, for a proxy in between may have changed ``Host``."""
        scheme, _, found = origin.partition("://")
        return scheme in {"http", "https"} and (found.lower() == authority.lower() or self._is_allowed(found))


def unauthorized(detail: str) -> Problem:
    """A 401, with the challenge that belongs to it."""
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="backroom"'})
