"""API keys: made, listed and revoked."""

import time
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from backroom.model.errors import FieldError, InvalidInput, NameTaken, NotFound
from backroom.model.job import format_time
from backroom.model.options import LATEST_MS
from backroom.store.api_keys import KeyRecord
from backroom.store.positions import Position
from backroom.store.records import from_ms
from services.api.bodies import Name
from services.api.http.access import NO_LISTS_FOR_ADMINS, Access, ConfiguredKey, Role
from services.api.http.answers import Answer
from services.api.http.keys import NewKey, key_digest, key_prefix
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import Input, NoBody, NoQuery
from services.api.paging import NEXT_PAGE, next_page, page_of
from services.api.queries import PageQuery, Time
from services.api.schemas import ApiKeyPage, ApiKeyView, NewApiKey

__all__ = ["resource"]

resource = Resource("Keys", "API keys, beside those of the environment. With the first one the stack is closed.")

MAX_LISTED: Final = 100
_LIST_NAME: Final = "keys"


def _once_each(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Names = Annotated[list[Name], Field(min_length=1, max_length=MAX_LISTED), AfterValidator(_once_each)]


class KeyBody(Input):
    """A key to make."""

    name: Name = Field(description="Who will use it: what logs and the audit log say. No other key has it.")
    roles: Annotated[list[Role], Field(min_length=1, max_length=4), AfterValidator(_once_each)] = Field(
        description="submit: submit, and read single jobs. read: read all but keys and the audit log. operate: both, "
        "and act on jobs, queues, schedules and workers. admin: everything."
    )
    queues: Names | None = Field(default=None, description="The queues it is bound to; left out: all.")
    job_types: Names | None = Field(default=None, description="The job types it is bound to; left out: all.")
    expires_at: Time | None = Field(default=None, description="When it ends; left out: never.")


def _stored_view(record: KeyRecord, used_at: int | None) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "prefix": key_prefix(record.id),
        "roles": list(record.roles),
        "queues": None if record.queues is None else list(record.queues),
        "jobTypes": None if record.job_types is None else list(record.job_types),
        "source": "api",
        "createdAt": format_time(from_ms(record.created_at)),
        "createdBy": record.created_by,
        "expiresAt": format_time(from_ms(record.expires_at)),
        "lastUsedAt": format_time(from_ms(used_at)),
    }


def _configured_view(key: ConfiguredKey) -> dict[str, Any]:
    return {
        "id": None,
        "name": key.name,
        "prefix": None,
        "roles": key.roles,
        "queues": key.queues,
        "jobTypes": key.job_types,
        "source": "environment",
        "createdAt": None,
        "createdBy": None,
        "expiresAt": None,
        "lastUsedAt": None,
    }


@resource.operation(
    "GET",
    "/v1/keys",
    access=Access.ADMIN,
    query=PageQuery,
    body=NoBody,
    replies={200: Reply("A page of them.", ApiKeyPage, headers=NEXT_PAGE)},
)
def list_keys(call: Call[PageQuery, NoBody]) -> Answer:
    """List the API keys.

    Those of the environment first, then the others by creation. Keys themselves cannot be read again.
    """
    store = call.backend.store.api_keys
    stored, used = store.read(), store.used()
    assert stored is not None
    views = [
        *((Position(0.0, f"{n:06}"), _configured_view(key)) for n, key in enumerate(call.backend.guard.configured)),
        *(
            (Position(float(record.created_at), record.id), _stored_view(record, used.get(record.id)))
            for record in stored.keys.values()
        ),
    ]
    page, cursor = page_of(views, call.query, _LIST_NAME)
    return Answer(200, {"keys": page, "next": cursor}, headers=next_page("/v1/keys", call.query, cursor))


@resource.operation(
    "POST",
    "/v1/keys",
    access=Access.ADMIN,
    query=NoQuery,
    body=KeyBody,
    replies={201: Reply("The key, which is shown this once.", NewApiKey, headers={"Location": "What is known of it."})},
    problems=(409,),
)
def create_key(call: Call[NoQuery, KeyBody]) -> Answer:
    """Create an API key.

    The first key closes the stack: it must have the role admin and no end. An `Idempotency-Key` is not heeded, because
    the answer is kept nowhere: if it is lost, revoke the key and create another one.
    """
    body, guard = call.body, call.backend.guard
    expires_at = None if body.expires_at is None else int(body.expires_at.timestamp() * 1000)
    _check(body, expires_at)
    if any(key.name == body.name for key in guard.configured):
        raise NameTaken("key", body.name)
    new = NewKey.make()
    record = call.backend.store.api_keys.create(
        new.id,
        name=body.name,
        digest=key_digest(new.text).hex(),
        roles=body.roles,
        queues=body.queues,
        job_types=body.job_types,
        expires_at=expires_at,
        created_by=call.principal.name,
        admins_elsewhere=guard.has_configured_admin,
    )
    guard.ring.forget()
    return Answer(201, {**_stored_view(record, None), "key": new.text}, headers={"Location": f"/v1/keys/{new.id}"})


def _check(body: KeyBody, expires_at: int | None) -> None:
    """Raise `InvalidInput` for what no field alone can tell."""
    errors = []
    if "admin" in body.roles:
        lists = {"/queues": body.queues, "/jobTypes": body.job_types}
        errors += [
            FieldError(place, "not-for-admins", NO_LISTS_FOR_ADMINS)
            for place, found in lists.items()
            if found is not None
        ]
    if expires_at is not None and not time.time() * 1000 < expires_at < LATEST_MS:
        errors.append(FieldError("/expiresAt", "out-of-range", "must be a time to come, before 2100"))
    if errors:
        raise InvalidInput(errors)


@resource.operation(
    "GET",
    "/v1/keys/{keyId}",
    access=Access.ADMIN,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("What is known of it.", ApiKeyView)},
    problems=(404,),
)
def read_key(call: Call[NoQuery, NoBody]) -> Answer:
    """Read what is known of an API key."""
    store, key_id = call.backend.store.api_keys, call.path["keyId"]
    stored = store.read()
    assert stored is not None
    if key_id not in stored.keys:
        raise NotFound("key", key_id)
    return Answer(200, _stored_view(stored.keys[key_id], store.used().get(key_id)))


@resource.operation(
    "DELETE",
    "/v1/keys/{keyId}",
    access=Access.ADMIN,
    query=NoQuery,
    body=NoBody,
    replies={204: Reply("It is refused from now on: here at once, by every process within a second.")},
    problems=(404, 409),
)
def revoke_key(call: Call[NoQuery, NoBody]) -> Answer:
    """Revoke an API key.

    409 for the last admin key that does not end, as long as there is none in the environment.
    """
    guard = call.backend.guard
    call.backend.store.api_keys.revoke(call.path["keyId"], admins_elsewhere=guard.has_configured_admin)
    guard.ring.forget()
    return Answer(204)
