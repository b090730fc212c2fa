"""Pages for people: rendered on the server by Flask, without scripts."""

from typing import Any, Final

from flask import render_template

from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply

__all__ = ["PAGE", "page_answer"]

PAGE: Final = Reply("A page.", schema={"type": "string"}, media_type="text/html")
#: Pages run no scripts, load nothing from anywhere else, and are framed by nobody.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def page_answer(call: Call[Any, Any], template: str, *, status: int = 200, **context: object) -> Answer:
    """A page made of a template of `dashboard/templates`."""
    with call.backend.pages.request_context(call.request.environ):
        page = render_template(template, **context)
    return Answer(status, page, _HEADERS, "text/html; charset=utf-8")
