"""Who may do what: API keys with roles, or, without keys, the checks that keep other web sites out."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from flask import Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from backroom.settings import Settings
from services.api.http.problems import Problem

__all__ = ["Access", "Guard", "Principal", "unauthorized"]

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


class _Key(BaseModel):
    """One entry of ``BACKROOM_API_KEYS``."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    name: Annotated[str, Field(min_length=1, max_length=128)]
    key: Annotated[str, Field(min_length=16, max_length=512, pattern=r"^[!-~]+$")]
    roles: Annotated[list[Literal["submit", "read", "operate", "admin"]], Field(min_length=1)]
    queues: list[str] | None = None
    job_types: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Without keys everybody is the same principal, who may do everything."""

    name: str
    grants: frozenset[Access]
    #: The queues it is bound to; None for all.
    queues: frozenset[str] | None = None
    #: The job types it is bound to; None for all.
    job_types: frozenset[str] | None = None

    @property
    def bound(self) -> bool:
        """Whether it may touch some queues or job types only."""
        return self.queues is not None or self.job_types is not None

    def may_touch(self, *, queue: str, name: str) -> bool:
        """Whether a job of this queue and type is any business of this principal."""
        return (self.queues is None or queue in self.queues) and (self.job_types is None or name in self.job_types)


_NOBODY: Final = Principal("nobody", frozenset({Access.PUBLIC}))
_EVERYBODY: Final = Principal("open", frozenset(Access))


def _digest(key: str) -> bytes:
    """Keys are long and random, so that a plain hash of them gives nothing away; the keys themselves are not kept."""
    return hashlib.sha256(key.encode()).digest()


def _read_keys(settings: Settings) -> list[tuple[bytes, Principal]]:
    text = Path(settings.api_keys_file).read_text("utf-8") if settings.api_keys_file else settings.api_keys
    if text is None:
        return []
    try:
        keys = TypeAdapter(list[_Key]).validate_python(json.loads(text))
    except ValidationError as error:
        wrong = "; ".join(f"{'/'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ValueError(f"BACKROOM_API_KEYS is not a list of keys: {wrong}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"BACKROOM_API_KEYS is not JSON: {error}") from None
    if not keys:
        raise ValueError("BACKROOM_API_KEYS is an empty list: leave it out for open mode")
    return [
        (
            _digest(key.key),
            Principal(
                key.name,
                frozenset().union({Access.PUBLIC}, *(_GRANTS[role] for role in key.roles)),
                None if key.queues is None else frozenset(key.queues),
                None if key.job_types is None else frozenset(key.job_types),
            ),
        )
        for key in keys
    ]


def _host_of(authority: str) -> str:
    """The host name of ``host:port``, in lower case, without brackets and final dot; empty for nonsense."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class Guard:
    """Decides who a request comes from, and refuses what another web site may have made a browser send."""

    def __init__(self, settings: Settings) -> None:
        self._keys: Sequence[tuple[bytes, Principal]] = _read_keys(settings)
        self._allowed = frozenset(host.lower() for host in settings.allowed_hosts)

    @property
    def open(self) -> bool:
        """Whether there are no keys, so that everybody may do everything from this machine."""
        return not self._keys

    def identify(self, request: Request) -> Principal:
        """The principal behind the request; one without rights if it has no key. Raises `Problem` (401, 403)."""
        if self.open:
            return _EVERYBODY
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return _NOBODY
        scheme, _, key = authorization.partition(" ")
        found = None
        if scheme.lower() == "bearer":
            digest = _digest(key.strip())
            for known, principal in self._keys:  # all of them, always: the time taken tells nothing
                if hmac.compare_digest(known, digest):
                    found = principal
        if found is None:
            raise unauthorized("This key is not one of this stack's.")
        return found

    def check_origin(self, request: Request) -> None:
        """In open mode, refuse a foreign ``Host``, and writes on behalf of a foreign site. Raises `Problem` (403)."""
        if not self.open:
            return
        authority = request.environ.get("HTTP_HOST", "")
        if not self._is_own(authority):
            raise Problem("foreign-request", f"This stack does not answer to the host {authority!r}.")
        if request.method in _SAFE_METHODS:
            return
        origin = request.headers.get("Origin")
        if origin is not None and not self._same_origin(origin, authority):
            raise Problem("foreign-request", f"Writes from the origin {origin!r} are refused.")
        site = request.headers.get("Sec-Fetch-Site", "none")
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
