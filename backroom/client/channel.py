"""The line to the API: one request and its answer, tried again where that is safe."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from backroom import __version__
from backroom.client.errors import BackroomAPIError, FieldError, UnexpectedAnswer, Unreachable, error_for
from backroom.client.retrying import RetryPolicy, retry_after_seconds

__all__ = ["Answer", "Channel", "Query", "path_to", "unreachable"]

T = TypeVar("T")
Query = Mapping[str, str | int | Sequence[str]]

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors before anything went out: the request can be repeated whatever it was."""
_PASSING: Final = frozenset({429, 502, 503, 504})
_TOO_MANY_REQUESTS: Final = 429
_STILL_RUNNING: Final = "still-running"
"""The code of a refusal: the request before, with the same idempotency key, is being answered."""
_NO_CONTENT: Final = 204
_NOT_FOUND: Final = 404
_FIRST_ERROR: Final = 400
_REDIRECTS: Final = range(300, 400)
_IDEMPOTENT: Final = frozenset({"GET", "PUT", "DELETE"})


def path_to(*parts: str) -> str:
    """A path of the API; each part is one step, whatever characters it has."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


class Answer:
    """A successful answer of the API."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response

    def json(self) -> Any:
        """The body. Raises `UnexpectedAnswer` if it is not JSON."""
        return _json_of(self._response)

    def confirm(self) -> None:
        """It was done, and there is nothing to say. Raises `UnexpectedAnswer` if that is not what was answered."""
        if self.status not in {_NO_CONTENT, _NOT_FOUND}:  # gone: by the try whose answer was lost
            raise _unexpected(self._response, "nothing")

    def read(self, read: Callable[[Any], T]) -> T:
        """What ``read`` makes of the body. Raises `UnexpectedAnswer` if it cannot, `NotFound` for a 404 let through."""
        _check(self._response)
        value = self.json()
        try:
            return read(value)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswer(
                f"{self._response.request.method} {self._response.url} was answered with a shape that this client "
                f"does not know ({error!r}): is the server of another version than {__version__}?"
            ) from error


class Channel:
    """Sends requests to one API. May be used by several threads."""

    def __init__(self, url: str, key: str | None, *, timeout: float, policy: RetryPolicy) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"the address of the API is like http://127.0.0.1:8000, not {url!r}")
        self.url = url.rstrip("/")
        self.policy = policy
        self._timeout = timeout
        headers = {"Accept": "application/json", "User-Agent": f"backroom-python/{__version__}"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        # Without TLS no certificates are read, which would take longer than most requests.
        self._http = httpx.Client(headers=headers, timeout=timeout, verify=parts.scheme == "https")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        safe: bool = False,
        patience: float = 0.0,
        until: float | None = None,
    ) -> Answer:
        """Send a request, and again where that cannot do twice what was asked for once.

        That is so for GET, PUT and DELETE, for what carries an idempotency key, and for what is called ``safe``; of
        anything else only what certainly was not begun. ``patience``: seconds that the answer may take beyond the
        usual. No try begins after ``until``, by the policy's clock. Raises `BackroomAPIError`, `Unreachable`,
        `UnexpectedAnswer`.
        """
        given = dict(headers or {})
        content = None if body is None else _json_text(body)
        if content is not None:
            given["Content-Type"] = "application/json"
        timeout = httpx.Timeout(self._timeout, read=self._timeout + patience)
        request = self._http.build_request(
            method, self.url + path, params=_pairs(query), content=content, headers=given, timeout=timeout
        )
        safe = safe or method in _IDEMPOTENT or "Idempotency-Key" in given
        return self._answer(request, safe=safe, until=until)

    @contextmanager
    def stream(
        self, path: str, *, query: Query | None = None, headers: Mapping[str, str], silence: float
    ) -> Iterator[httpx.Response]:
        """Open a stream; the server says something at least every ``silence`` seconds. Tries once.

        Raises `BackroomAPIError`, and httpx's `TransportError` also while the stream is read.
        """
        timeout = httpx.Timeout(self._timeout, read=silence)
        request = self._http.build_request(
            "GET", self.url + path, params=_pairs(query), headers=dict(headers), timeout=timeout
        )
        response = self._http.send(request, stream=True)
        try:
            if response.status_code >= _FIRST_ERROR:
                response.read()
            _check(response)
            yield response
        finally:
            response.close()

    def _answer(self, request: httpx.Request, *, safe: bool, until: float | None) -> Answer:
        tried, sent_before = 0, False
        while True:
            tried += 1
            asked = None
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                sent = not isinstance(error, _NOT_SENT)
                problem: Exception = unreachable(self.url, error, tried)
                again = safe or not sent
            else:
                if sent_before and request.method == "DELETE" and response.status_code == _NOT_FOUND:
                    return Answer(response)  # the try whose answer was lost has done it
                try:
                    _check(response)
                except BackroomAPIError as error:
                    problem, asked = error, error.retry_after
                    sent = error.status != _TOO_MANY_REQUESTS
                    again = _passes(error, safe=safe)
                else:
                    return Answer(response)
            pause = self.policy.pause(tried, asked) if again else None
            if pause is None or (until is not None and self.policy.clock() + pause >= until):
                raise problem
            sent_before = sent_before or sent
            self.policy.sleep(pause)


def unreachable(url: str, cause: httpx.TransportError, tried: int) -> Unreachable:
    """The error for people: what is not there, and what to look at."""
    tries = "" if tried == 1 else f" (tried {tried} times)"
    if isinstance(cause, _NOT_SENT):
        error = Unreachable(f"{url} cannot be reached{tries}: {cause}. Is the stack up, and the address right?")
    elif isinstance(cause, httpx.TimeoutException):
        error = Unreachable(f"{url} does not answer in time{tries}. Is the stack overloaded, or the network slow?")
    else:
        error = Unreachable(f"The connection to {url} broke{tries}: {str(cause) or type(cause).__name__}.")
    error.__cause__ = cause
    return error


def _passes(error: BackroomAPIError, *, safe: bool) -> bool:
    """Whether the refusal may be over soon, and the request may be repeated then."""
    if error.code == _STILL_RUNNING or error.status == _TOO_MANY_REQUESTS:
        return True
    return safe and error.status in _PASSING


def _check(response: httpx.Response) -> None:
    """Raise the error that an answer stands for, if it does."""
    status = response.status_code
    if status in _REDIRECTS:
        to = response.headers.get("Location", "nowhere")
        raise UnexpectedAnswer(f"{response.url} leads on to {to}: give the address that is meant, with http or https.")
    if status < _FIRST_ERROR:
        return
    retry_after = retry_after_seconds(response.headers.get("Retry-After"))
    request_id = response.headers.get("X-Request-Id")
    try:
        problem = _json_of(response)
        raise error_for(status)(
            status=status,
            type=problem["type"],
            title=problem["title"],
            detail=problem["detail"],
            errors=[FieldError(each["pointer"], each["code"], each["message"]) for each in problem.get("errors") or ()],
            request_id=problem.get("requestId") or request_id,
            retry_after=retry_after,
        )
    except (UnexpectedAnswer, AttributeError, KeyError, TypeError):  # said by a proxy, or by gunicorn itself
        raise error_for(status)(
            status=status,
            type="about:blank",
            title=response.reason_phrase,
            detail=f"{response.url} answered {status} {response.reason_phrase}, and not in the words of Backroom.",
            request_id=request_id,
            retry_after=retry_after,
        ) from None


def _json_of(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        raise _unexpected(response, "JSON") from None


def _unexpected(response: httpx.Response, expected: str) -> UnexpectedAnswer:
    kind = response.headers.get("Content-Type") or "nothing"
    return UnexpectedAnswer(
        f"{response.url} answered {response.status_code} with {kind} where {expected} was expected: is this the "
        "address of a Backroom API?"
    )


def _json_text(body: object) -> bytes:
    """Compact JSON. Raises `ValueError` for what JSON does not have (NaN), `TypeError` for foreign types."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _pairs(query: Query | None) -> httpx.QueryParams:
    """Parameters, each value of a list for itself."""
    found: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in (query or {}).items():
        if isinstance(value, str | int):
            found.append((name, value))
        else:
            found += [(name, each) for each in value]
    return httpx.QueryParams(found)
