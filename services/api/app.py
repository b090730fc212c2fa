"""The application: what happens around every request, and which addresses there are."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from flask import Flask, Response, g, request

from backroom import logs
from backroom.model.errors import StoreUnavailable
from backroom.settings import Settings, get_settings
from backroom.store.audit import AuditEntry
from services.api import routes
from services.api.backend import Backend
from services.api.http import telemetry
from services.api.http.access import NOBODY, Access, unauthorized
from services.api.http.ledger import Ledger
from services.api.http.operation import Operation, mount
from services.api.http.problems import Problem, as_problem, problem_answer
from services.api.http.requests import request_id
from services.api.settings import ApiSettings, get_api_settings

__all__ = ["create_app"]

log = structlog.get_logger("backroom.api")

MAX_TARGET: Final = 512
"""Characters of an address that the audit log keeps."""
#: Asked every few seconds by machines, under whatever name they know: neither logged nor checked for their host.
PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})


def create_app(settings: Settings | None = None, api_settings: ApiSettings | None = None) -> Flask:
    """The WSGI application with a store client of its own; settings come from the environment unless given."""
    settings = settings or get_settings()
    logs.configure(settings)
    app = Flask("services.api", static_folder="dashboard/static", template_folder="dashboard/templates")
    app.url_map.merge_slashes = False  # an address with two slashes is no address of ours: 404, not a redirect
    backend = Backend(settings, api_settings or get_api_settings())
    app.extensions["backroom"] = backend
    operations = {operation.endpoint: operation for operation in routes.operations()}
    for operation in operations.values():
        mount(app, backend, operation)
    app.before_request(lambda: _begin(backend, operations))
    app.after_request(lambda response: _end(response, backend, operations))
    app.register_error_handler(Exception, _refuse)
    _warn_if_open(backend)
    return app


def _warn_if_open(backend: Backend) -> None:
    try:
        if not backend.guard.is_closed():
            log.warning("open mode: there are no API keys, so everybody who reaches this port may do everything")
    except StoreUnavailable:
        log.warning("the store is away: whether there are API keys is not known yet, and until then nobody may come in")


def _begin(backend: Backend, operations: Mapping[str, Operation]) -> None:
    """Give the request its id, and settle who asks, before its address and its body are looked at."""
    g.started = time.perf_counter()
    g.request_id = request_id(request.headers)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    operation = operations.get(request.endpoint or "")
    if operation is not None and operation.access is Access.PUBLIC:
        g.principal = NOBODY
        return
    if request.path not in PROBES:
        backend.guard.check_origin(request)
    g.principal = backend.guard.identify(request)
    if request.url_rule is None and not g.principal.is_known:
        raise unauthorized("This call needs a key.")


def _refuse(error: Exception) -> Response:
    """Answer an error with its problem; one that nobody foresaw is a defect, and logged with its traceback."""
    problem = as_problem(error)
    if problem is None:
        log.error("request failed", method=request.method, path=request.path, exc_info=error)
        problem = Problem("internal-error", f"The log of the API has more, under the request id {g.request_id}.")
    elif problem.kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("request refused", reason=problem.kind.slug, cause=str(error) or repr(error))
    return problem_answer(problem, g.request_id).response()


def _end(response: Response, backend: Backend, operations: Mapping[str, Operation]) -> Response:
    """Count and log the answer, and add what every answer carries."""
    seconds = time.perf_counter() - g.started
    response.headers["X-Request-Id"] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.extend(g.get("rate_limit_headers", {}))
    rule = request.url_rule
    route = None if rule is None else str(rule.rule).replace("<", "{").replace(">", "}")
    asked_to_wait = "Preference-Applied" in response.headers
    telemetry.observe(
        method=request.method, route=route, status=response.status_code, seconds=None if asked_to_wait else seconds
    )
    if request.path not in PROBES:
        principal = g.get("principal")
        log.info(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            ms=round(seconds * 1000, 2),
            actor=None if principal is None else principal.name,
            address=request.remote_addr,
        )
    _audit(response, backend.ledger, operations.get(request.endpoint or ""))
    return response


def _audit(response: Response, ledger: Ledger, operation: Operation | None) -> None:
    """Write down every act, every look that is for admins alone, and every refusal for want of rights."""
    is_forbidden = response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    is_act = operation is not None and (operation.method != "GET" or operation.access is Access.ADMIN)
    if not (is_act or is_forbidden):
        return
    principal = g.get("principal")
    entry = AuditEntry(
        at=time.time_ns() // 1_000_000,
        actor=principal.name if principal is not None and principal.is_known else None,
        action="unknown" if operation is None else operation.name,
        target=(response.headers.get("Location") or request.path)[:MAX_TARGET],
        status=response.status_code,
        request_id=g.request_id,
        address=request.remote_addr or "",
    )
    ledger.note(entry, is_submission=operation is not None and operation.access is Access.SUBMIT)
