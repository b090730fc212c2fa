"""Reading requests: the request id, the trace, ``Prefer``, and JSON bodies without surprises.

Headers that most requests are asked for are read where WSGI has them, under the names of CGI: the library's view of
them costs ten times as much.
"""

import json
import math
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Final

import orjson
from werkzeug.wrappers import Request

from backroom.model.errors import FieldError, InvalidInput, TooLarge
from backroom.model.validation import pointer
from services.api.http.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["MAX_WAIT_SECONDS", "preferred_wait", "read_json", "request_id", "traceparent"]

MAX_WAIT_SECONDS: Final = 60

DISCARD_STEP: Final = 64 * 1024
MAX_DISCARDED: Final = 32 * 1024 * 1024
"""How much of a body that is too large is read after all; one that is larger still meets a closed connection."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}\Z")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_WAIT: Final = re.compile(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;.*)?\Z", re.IGNORECASE)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_WHITE: Final = b" \t\r\n"


def request_id(environ: "WSGIEnvironment") -> str:
    """The caller's ``X-Request-Id`` if it is 1 to 128 harmless characters, else a new one."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    return given if _REQUEST_ID.match(given) else secrets.token_hex(16)


def traceparent(environ: "WSGIEnvironment") -> str | None:
    """The caller's W3C ``traceparent``; None if there is none or, as the specification has it, if it is not valid."""
    given = environ.get("HTTP_TRACEPARENT", "").strip()
    return given if _TRACEPARENT.match(given) else None


def preferred_wait(environ: "WSGIEnvironment") -> int | None:
    """N of ``Prefer: wait=N`` (RFC 7240) in seconds, at most 60; None if the caller does not want to wait."""
    for preference in environ.get("HTTP_PREFER", "").split(","):
        if found := _WAIT.match(preference):
            return min(int(found[1]), MAX_WAIT_SECONDS)
    return None


class _DuplicateKey(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _DuplicateKey(f"The key {twice!r} stands twice in one object.")
    return found


def _read_body(request: Request, *, limit: int, what: str) -> bytes:
    """The body's bytes. Raises `TooLarge` above ``limit``, without keeping what is too much."""
    stream, declared = request.environ["wsgi.input"], request.content_length
    try:
        body: bytes = b"" if (declared or 0) > limit else stream.read(limit + 1)
        too_large = len(body) > limit or (declared or 0) > limit
        if too_large and "HTTP_EXPECT" not in request.environ:  # who asked first has not begun to send
            _discard(stream)
    except Exception as error:  # noqa: BLE001 - whatever the server says of a body it cannot read, the caller sent it
        raise Problem("bad-request", f"The body cannot be read: {error}.") from None
    if too_large:
        raise TooLarge(what, limit, declared)
    if declared is not None and len(body) < declared:
        raise Problem("bad-request", f"The body ended after {len(body)} of the {declared} bytes it was to have.")
    return body


def _discard(stream: IO[bytes]) -> None:
    """Read on for a while: a client that is still sending when the connection closes never sees the answer."""
    for _ in range(MAX_DISCARDED // DISCARD_STEP):
        if not stream.read(DISCARD_STEP):
            return


def _check_media_type(request: Request) -> None:
    if request.environ.get("CONTENT_TYPE") == "application/json" and "HTTP_CONTENT_ENCODING" not in request.environ:
        return  # as nearly everybody sends it
    if request.mimetype != "application/json" or request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        found = request.headers.get("Content-Type") or "none"
        raise Problem(
            "unsupported-media-type",
            f"Send the body as JSON with the header 'Content-Type: application/json'; this one's type is {found}.",
            headers={"Accept": "application/json"},
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem("unsupported-media-type", "Send the body without a Content-Encoding.")


def read_json(request: Request, *, limit: int, what: str = "request body", optional: bool = False) -> object:
    """The parsed body; an empty object for none, where it is ``optional``.

    Raises `Problem` (400, 415), `TooLarge` for more than ``limit`` bytes, `InvalidInput` for a body nested out of all
    reason.
    """
    body = _read_body(request, limit=limit, what=what)
    if not body and optional:
        return {}
    if not body:
        raise Problem("bad-request", "This call needs a JSON body, and there is none.")
    _check_media_type(request)
    return _plain(body) or _with_care(body)


def _plain(body: bytes) -> object:
    """What orjson reads, if it writes it the same way but for white space; else None.

    Nothing can be in such a body that orjson reads otherwise than the standard library, or takes where that refuses: it
    writes no key twice, no number in another way than it reads it, no NaN, and no half of a surrogate pair.
    """
    try:
        value = orjson.loads(body)
        written = orjson.dumps(value)
    except (ValueError, TypeError):
        return None
    if written == body or written.translate(None, _WHITE) == body.translate(None, _WHITE):
        return value
    return None


def _with_care(body: bytes) -> object:
    """What the standard library reads: unlike faster ones it keeps integers beyond 64 bits, and tells of every key."""
    value, constants = _parsed(body)
    if constants:
        places = [FieldError(place, "not-json", "is not a number of JSON") for place in _places_of_nan(value)]
        raise Problem("malformed-json", f"{constants[0]} is not JSON; use null or text.", errors=places)
    if _SURROGATE.search(body):
        _check_surrogates(value)
    return value


def _parsed(body: bytes) -> tuple[object, list[str]]:
    """The value, and the words in it, such as ``NaN``, that JSON does not have but many writers write."""
    constants: list[str] = []

    def constant(word: str) -> float:
        constants.append(word)
        return math.nan

    try:
        return json.loads(body.decode(), object_pairs_hook=_object, parse_constant=constant), constants
    except UnicodeDecodeError as error:
        raise Problem("malformed-json", f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise Problem("malformed-json", f"The body is not JSON: {error.msg} ({place}).") from None
    except _DuplicateKey as error:
        raise Problem("malformed-json", str(error)) from None
    except RecursionError:
        raise InvalidInput.at("", "too-deep", "is nested too deeply") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise Problem("malformed-json", f"The body holds a number that is too long: {error}.") from None


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Problem("malformed-json", "A string holds half of a surrogate pair, which is no text.") from None
    except RecursionError:
        raise InvalidInput.at("", "too-deep", "is nested too deeply") from None


def _places_of_nan(value: object) -> Iterator[str]:
    """The pointers of every NaN, breadth first; never recurses."""
    level: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while level:
        below: list[tuple[tuple[str | int, ...], object]] = []
        for place, item in level:
            if isinstance(item, float) and math.isnan(item):
                yield pointer(place)
            elif isinstance(item, dict):
                below += [((*place, key), child) for key, child in item.items()]
            elif isinstance(item, list):
                below += [((*place, index), child) for index, child in enumerate(item)]
        level = below
