"""Pages for people: rendered on the server, without scripts."""

from typing import Final

from flask import render_template

from services.api.http.answers import Answer
from services.api.http.operation import Reply

__all__ = ["PAGE", "page_answer"]

PAGE: Final = Reply("A page.", schema={"type": "string"}, media_type="text/html")
#: Pages run no scripts, load nothing from anywhere else, and are framed by nobody.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def page_answer(template: str, *, status: int = 200, **context: object) -> Answer:
    """A page made of a template of `dashboard/templates`."""
    return Answer(status, render_template(template, **context), _HEADERS, "text/html; charset=utf-8")
