"""Operations: one decorator says what a call takes and answers, and one order in which every call is handled.

The order is fixed: request id, host and origin, key (all at the front desk, as unknown addresses need them too), then
here role, rate limit, path and query, body, idempotency key, and last the handler. What is declared is also what
`openapi.json` says.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import Headers, MultiDict
from werkzeug.wrappers import Request

from backroom.model.names import new_id
from backroom.store.idempotency import KeyClaim
from services.api.backend import Backend
from services.api.http.access import Access, Principal, unauthorized
from services.api.http.answers import Answer
from services.api.http.idempotency import idempotency_key, once
from services.api.http.problems import Problem
from services.api.http.rates import Standing
from services.api.http.requests import preferred_wait, read_json, traceparent
from services.api.http.validation import read_query, validated

__all__ = ["BodyLimit", "Call", "Operation", "Reply", "Resource", "Visit"]

Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)

_NO_PARAMETERS: Final[MultiDict[str, str]] = MultiDict()
_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class BodyLimit(StrEnum):
    """The setting that bounds a body."""

    BODY = "max_body_bytes"
    BULK = "max_bulk_bytes"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer an operation may give, for the OpenAPI document."""

    description: str
    #: The model of the body; None for an answer without one, or with one that `schema` describes.
    model: type[BaseModel] | None = None
    schema: Mapping[str, Any] | None = None
    #: Names of the headers worth knowing, with what they say.
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


@dataclass(slots=True)
class Visit:
    """One request on its way through the API."""

    request: Request
    #: The caller's, or a new one.
    request_id: str
    #: Who asks; None until that is settled.
    principal: Principal | None = None
    #: How the caller stands with its budget, where it has one.
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request to an operation, checked: what a handler gets."""

    backend: Backend
    principal: Principal
    path: Mapping[str, str]
    query: Q
    body: B
    request: Request
    #: The id of the request.
    request_id: str
    #: The claim of the request's idempotency key, if it has one.
    claim: KeyClaim | None = None

    def new_id(self, place: int = 0) -> str:
        """An id for what the request creates: with an idempotency key the same one in every try, place by place."""
        return new_id() if self.claim is None else self.claim.new_id(place)

    @property
    def once(self) -> str:
        """What a submission is told, so that it is carried out once (see `backroom.store.submission`)."""
        return "" if self.claim is None else self.claim.name

    @property
    def wait(self) -> int | None:
        """Seconds the caller is ready to wait (``Prefer: wait``), 0..60; None if it did not say so."""
        return preferred_wait(self.request.environ)

    @property
    def headers(self) -> Headers:
        """The headers of the request."""
        return self.request.headers

    @property
    def traceparent(self) -> str | None:
        """The caller's trace, if it sent a valid one."""
        return traceparent(self.request.environ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A method and a path with everything that is known about them."""

    name: str
    method: str
    #: With parameters in braces: ``/v1/jobs/{jobId}``.
    path: str
    tag: str
    summary: str
    description: str
    access: Access
    query: type[BaseModel]
    body: type[BaseModel]
    limit: BodyLimit
    replies: Mapping[int, Reply]
    #: Statuses of the problems it answers, beside those that every operation may answer.
    problems: tuple[int, ...]
    #: Request headers it heeds, with what they say.
    headers: Mapping[str, str]
    #: Whether it heeds an ``Idempotency-Key``.
    idempotent: bool
    handler: Callable[[Any], Answer]

    @property
    def rule(self) -> str:
        """The path in the words of Flask."""
        return _PARAMETER.sub(r"<\1>", self.path)

    @property
    def endpoint(self) -> str:
        """Its name among Flask's endpoints."""
        return f"{self.method} {self.path}"

    @property
    def needs_body(self) -> bool:
        """Whether the body may not be left out, because it may not be empty."""
        return not _may_be_empty(self.body)

    @property
    def parameters(self) -> list[str]:
        """The names of the path's parameters."""
        return _PARAMETER.findall(self.path)

    def answer(self, backend: Backend, principal: Principal, visit: Visit, path: Mapping[str, str]) -> Answer:
        """Handle a request."""
        request = visit.request
        self._check_role(principal)
        visit.standing = backend.rates.count(request, principal, self.access)
        if visit.standing is not None:
            visit.standing.check()
        query = read_query(self.query, request.args if request.query_string else _NO_PARAMETERS)
        value = self._read_body(backend, request)
        body = validated(self.body, value)
        call: Call[Any, Any] = Call(backend, principal, path, query, body, request, visit.request_id)
        key = idempotency_key(request) if self.idempotent else None
        if key is None:
            return self.handler(call)
        return once(
            backend.store.idempotency,
            f"{principal.scope}\n{self.method}\n{request.path}\n{key}",
            value,
            lambda claim: self.handler(replace(call, claim=claim)),
            keep_seconds=backend.api_settings.idempotency_seconds,
        )

    def _check_role(self, principal: Principal) -> None:
        if self.access in principal.grants:
            return
        if not principal.is_known:
            raise unauthorized("This call needs a key.")
        raise Problem("forbidden", f"The roles of the key {principal.name!r} do not include {self.access}.")

    def _read_body(self, backend: Backend, request: Request) -> object:
        if self.method in {"GET", "DELETE"}:
            return {}
        limit: int = getattr(backend.settings, self.limit)
        what = "body of a bulk submission" if self.limit is BodyLimit.BULK else "request body"
        return read_json(request, limit=limit, what=what, optional=not self.needs_body)


@cache
def _may_be_empty(model: type[BaseModel]) -> bool:
    try:
        model.model_validate({})
    except ValidationError:
        return False
    return True


class Resource:
    """The operations of one resource, which share a tag in the API's document."""

    def __init__(self, tag: str, description: str) -> None:
        self.tag = tag
        self.description = description
        self.operations: list[Operation] = []

    def operation(
        self,
        method: str,
        path: str,
        *,
        access: Access,
        query: type[Q],
        body: type[B],
        replies: Mapping[int, Reply],
        problems: tuple[int, ...] = (),
        headers: Mapping[str, str] | None = None,
        limit: BodyLimit = BodyLimit.BODY,
        idempotent: bool = False,
    ) -> Callable[[Callable[[Call[Q, B]], Answer]], Callable[[Call[Q, B]], Answer]]:
        """Register a handler. The first line of its docstring is the operation's summary, the rest its description."""

        def register(handler: Callable[[Call[Q, B]], Answer]) -> Callable[[Call[Q, B]], Answer]:
            summary, _, description = (handler.__doc__ or "").partition("\n")
            self.operations.append(
                Operation(
                    name=handler.__name__,
                    method=method,
                    path=path,
                    tag=self.tag,
                    summary=summary.strip().rstrip("."),
                    description=" ".join(description.split()),
                    access=access,
                    query=query,
                    body=body,
                    limit=limit,
                    replies=replies,
                    problems=problems,
                    headers=headers or {},
                    idempotent=idempotent,
                    handler=handler,
                )
            )
            return handler

        return register
