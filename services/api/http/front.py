"""The front desk: what happens around every request, and to which operation it goes."""

import time
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from backroom.store.audit import AuditEntry
from services.api.backend import Backend
from services.api.http import telemetry
from services.api.http.access import NOBODY, Access, unauthorized
from services.api.http.answers import Answer
from services.api.http.operation import Operation, Visit
from services.api.http.problems import Problem, as_problem, problem_answer
from services.api.http.requests import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["FrontDesk"]

log = structlog.get_logger("backroom.api")

MAX_TARGET: Final = 512
"""Characters of an address that the audit log keeps."""
#: Asked every few seconds by machines, under whatever name they know: neither logged nor checked for their host.
PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})


class FrontDesk:
    """A WSGI application that answers operations itself, and leaves other addresses of ``pages`` to them."""

    def __init__(self, pages: Flask, backend: Backend, operations: Sequence[Operation]) -> None:
        self._backend = backend
        self._pages = pages.wsgi_app
        pages.register_error_handler(Exception, _raise)  # it is answered here
        pages.config["PROPAGATE_EXCEPTIONS"] = True
        self._operations = {operation.endpoint: operation for operation in operations}
        for operation in operations:
            pages.add_url_rule(
                operation.rule,
                endpoint=operation.endpoint,
                methods=[operation.method],
                provide_automatic_options=False,
            )
        self._addresses = pages.url_map.bind("backroom")
        #: Those whose addresses have no parameters, by method and address: nearly every submission goes to one of them.
        self._plain = {(each.method, each.path): each for each in operations if not each.parameters}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        began = time.perf_counter()
        request = Request(environ)
        visit = Visit(request, request_id(environ))
        structlog.contextvars.bind_contextvars(request_id=visit.request_id)
        operation = self._plain.get((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        route = None if operation is None else operation.path
        path: Mapping[str, str] = {}
        missing: HTTPException | None = None
        try:
            if operation is None:
                rule, path = self._addresses.match(request.path, request.method, return_rule=True)
                operation = self._operations.get(rule.endpoint)
                route = rule.rule.replace("<", "{").replace(">", "}") if operation is None else operation.path
        except HTTPException as error:
            missing = error
        try:
            answer = self._answer(visit, operation, path, missing)
            status, headers, chunks = self._sent(answer, visit)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            answer = _refusal(error, visit)
            status, headers, chunks = self._sent(answer, visit)
        self._finish(visit, operation, route, answer, time.perf_counter() - began)
        start_response(status, headers)
        return chunks

    def _answer(
        self, visit: Visit, operation: Operation | None, path: Mapping[str, str], missing: HTTPException | None
    ) -> Answer:
        """Settle who asks before the address and the body are looked at, and hand the request on."""
        request, guard = visit.request, self._backend.guard
        if operation is not None and operation.access is Access.PUBLIC:
            visit.principal = NOBODY
        else:
            if request.path not in PROBES:
                guard.check_origin(request)
            visit.principal = guard.identify(request)
        if operation is not None:
            return operation.answer(self._backend, visit.principal, visit, path)
        if missing is None:
            return self._page(request)
        if not visit.principal.is_known:
            raise unauthorized("This call needs a key.")
        raise missing

    def _page(self, request: Request) -> Answer:
        """A file of the pages, as Flask has it."""
        found = Response.from_app(self._pages, request.environ, buffered=True)
        headers = {
            name: value for name, value in found.headers.items() if name not in {"Content-Type", "Content-Length"}
        }
        return Answer(found.status_code, found.get_data(), headers, found.headers.get("Content-Type", "text/plain"))

    def _sent(self, answer: Answer, visit: Visit) -> tuple[str, list[tuple[str, str]], Iterable[bytes]]:
        more = {"X-Request-Id": visit.request_id, "X-Content-Type-Options": "nosniff"}
        if visit.standing is not None:
            more.update(visit.standing.headers)
        return answer.wsgi(more, is_head=visit.request.method == "HEAD")

    def _finish(
        self, visit: Visit, operation: Operation | None, route: str | None, answer: Answer, seconds: float
    ) -> None:
        """Count the answer, log it, and write it down if it is for the audit log."""
        request, principal = visit.request, visit.principal
        telemetry.observe(
            method=request.method,
            route=route,
            status=answer.status,
            seconds=None if "Preference-Applied" in answer.headers else seconds,
        )
        if request.path not in PROBES:
            log.info(
                "request",
                method=request.method,
                path=request.path,
                status=answer.status,
                ms=round(seconds * 1000, 2),
                actor=None if principal is None else principal.name,
                address=request.remote_addr,
            )
        is_forbidden = answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        # Every act, every look that is for admins alone, and every refusal for want of rights.
        is_act = operation is not None and (operation.method != "GET" or operation.access is Access.ADMIN)
        if not (is_act or is_forbidden):
            return
        entry = AuditEntry(
            at=time.time_ns() // 1_000_000,
            actor=principal.name if principal is not None and principal.is_known else None,
            action="unknown" if operation is None else operation.name,
            target=(answer.headers.get("Location") or request.path)[:MAX_TARGET],
            status=answer.status,
            request_id=visit.request_id,
            address=request.remote_addr or "",
        )
        self._backend.ledger.note(entry, is_submission=operation is not None and operation.access is Access.SUBMIT)


def _raise(error: Exception) -> Response:
    raise error


def _refusal(error: Exception, visit: Visit) -> Answer:
    """An error as its problem; one that nobody foresaw is a defect, and logged with its traceback."""
    problem = as_problem(error)
    if problem is None:
        log.error("request failed", method=visit.request.method, path=visit.request.path, exc_info=error)
        problem = Problem("internal-error", f"The log of the API has more, under the request id {visit.request_id}.")
    elif problem.kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("request refused", reason=problem.kind.slug, cause=str(error) or repr(error))
    return problem_answer(problem, visit.request_id)
