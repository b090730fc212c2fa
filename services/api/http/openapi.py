"""The OpenAPI 3.1 document, made from the registered operations and their models."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from backroom.model.names import NAME_PATTERN
from services.api.http.access import Access
from services.api.http.operation import Operation, Resource
from services.api.http.problems import PROBLEMS
from services.api.schemas import ProblemView

__all__ = ["document"]

_REF: Final = "#/components/schemas/{model}"
_NAME: Final = {"type": "string", "pattern": NAME_PATTERN}
#: Path parameters that are more than a name: the keys of schedules that are defined in code begin with a colon's word.
_PATH: Final[Mapping[str, Any]] = {
    "workerId": {"type": "string", "minLength": 1, "maxLength": 256},
    "key": {"type": "string", "pattern": r"^(code:|celery:)?[A-Za-z0-9._~-]{1,128}$"},
}
_ALWAYS: Final = (403, 500)
_IDEMPOTENCY: Final = {
    "Idempotency-Key": "1 to 255 characters of your own, for one request: sent again, it is answered as the first "
    "time, with Idempotent-Replayed: true, and not carried out again."
}
#: Request headers that must have a form; others are heeded if they have it.
_HEADERS: Final[Mapping[str, Any]] = {
    "Idempotency-Key": {
        "type": "string",
        "pattern": r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~][ !#-~]{0,253}[!#-~]|[!#-~])$',
    }
}
_INTRO: Final = """\
Jobs go in over HTTP and are done by workers in the background. Durations are in milliseconds unless a name says
otherwise, times are RFC 3339 in UTC, ids are text. Every error is an RFC 9457 problem. Answers carry an X-Request-Id,
the caller's own if it sent one."""

Schema = dict[str, Any]
#: The reference to each model that is described, by what it is used for: reading ("validation") or writing.
Refs = Mapping[tuple[Any, JsonSchemaMode], Schema]


def document(resources: Sequence[Resource], version: str) -> Schema:
    """The whole document, in a stable order: the same code gives the same bytes."""
    operations = [operation for resource in resources for operation in resource.operations]
    refs, schemas = _schemas(operations)
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Backroom",
            "version": version,
            "summary": "Background jobs over HTTP",
            "description": _INTRO,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": resource.tag, "description": resource.description} for resource in resources],
        "security": [{"key": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {str(status): _problem(status, refs) for status in sorted(_statuses(operations))},
            "headers": {
                "X-Request-Id": {"description": "The id of the request in the logs.", "schema": {"type": "string"}}
            },
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of BACKROOM_API_KEYS or POST /v1/keys; none is needed while there are none.",
                }
            },
        },
    }


def _schemas(operations: Iterable[Operation]) -> tuple[Refs, Schema]:
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemView, "serialization"): None}
    for operation in operations:
        models[operation.body, "validation"] = None
        models.update({(reply.model, "serialization"): None for reply in operation.replies.values() if reply.model})
    wanted = [key for key in models if key[0].model_fields]
    refs, definitions = models_json_schema(wanted, ref_template=_REF)
    return refs, dict(sorted(definitions["$defs"].items()))


def _statuses(operations: Iterable[Operation]) -> set[int]:
    return {status for operation in operations for status in _problem_statuses(operation)}


def _problem_statuses(operation: Operation) -> set[int]:
    found = {*_ALWAYS, *operation.problems}
    if operation.idempotent:
        found.add(409)
    if operation.access is not Access.PUBLIC:
        found |= {401, 429, 503}
    if operation.method in {"POST", "PUT", "PATCH"}:
        found |= {400, 413, 415, 422}
    return found | {422}  # an unknown query parameter is refused everywhere


def _problem(status: int, refs: Refs) -> Schema:
    kinds = [kind for kind in PROBLEMS.values() if kind.status == status]
    headers: Schema = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer"}}
    examples = {
        kind.slug: {
            "value": {
                "type": kind.uri,
                "title": kind.title,
                "status": kind.status,
                "detail": kind.explanation,
                "errors": [],
                "requestId": "6f1c9d2b7c0e4f6aa4c1a6c5d1f0e9b8",
            }
        }
        for kind in kinds
    }
    return {
        "description": " / ".join(kind.title for kind in kinds),
        "headers": headers,
        "content": {"application/problem+json": {"schema": refs[ProblemView, "serialization"], "examples": examples}},
    }


def _operation(operation: Operation, refs: Refs) -> Schema:
    found: Schema = {"operationId": operation.name, "tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        found["description"] = operation.description
    parameters = [
        *(
            {"name": name, "in": "path", "required": True, "schema": _PATH.get(name, _NAME)}
            for name in operation.parameters
        ),
        *_query_parameters(operation.query),
        *(
            {"name": name, "in": "header", "required": False, "description": text}
            | {"schema": _HEADERS.get(name, {"type": "string"})}
            for name, text in _headers(operation).items()
        ),
    ]
    if parameters:
        found["parameters"] = parameters
    if operation.body.model_fields:
        schema = refs[operation.body, "validation"]
        found["requestBody"] = {"required": operation.needs_body, "content": {"application/json": {"schema": schema}}}
    responses = {str(status): _reply(operation, status, refs) for status in operation.replies}
    for status in sorted(_problem_statuses(operation)):
        if reply := responses.get(str(status)):  # it may be the one or the other
            problem = _problem(status, refs)
            reply["headers"].update(problem["headers"])
            reply["content"].update(problem["content"])
        else:
            responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    found["responses"] = responses
    if operation.access is Access.PUBLIC:
        found["security"] = []
    else:
        found["x-access"] = str(operation.access)
    return found


def _headers(operation: Operation) -> Mapping[str, str]:
    """The request headers it heeds, with what they say."""
    return {**operation.headers, **_IDEMPOTENCY} if operation.idempotent else operation.headers


def _query_parameters(query: type[BaseModel]) -> list[Schema]:
    schema = query.model_json_schema()
    found = []
    for name, field in schema.get("properties", {}).items():
        definitions = schema.get("$defs", {})
        parameter: Schema = {"name": name, "in": "query", "required": name in schema.get("required", ())}
        if text := field.pop("description", None):
            parameter["description"] = text
        parameter["schema"] = _inlined(field, definitions)
        found.append(parameter)
    return found


def _inlined(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    """Queries are small: their enumerations stand where they are used. Titles say nothing the names do not."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return _inlined(definitions[reference.rsplit("/", 1)[1]], definitions)
    return {key: _inlined(part, definitions) for key, part in schema.items() if key != "title"}


def _reply(operation: Operation, status: int, refs: Refs) -> Schema:
    reply = operation.replies[status]
    headers: Schema = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    headers |= {name: {"description": text, "schema": {"type": "string"}} for name, text in reply.headers.items()}
    found: Schema = {"description": reply.description, "headers": headers}
    if reply.model is not None:
        found["content"] = {reply.media_type: {"schema": refs[reply.model, "serialization"]}}
    elif reply.schema is not None:
        found["content"] = {reply.media_type: {"schema": reply.schema}}
    return found
