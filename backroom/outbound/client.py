"""An HTTP client for jobs and webhooks: it calls permitted addresses only, reads bounded bodies, and never hangs.

It is `requests` with another way to connect. Host names stay in the URL, so TLS verifies the certificate against the
name that was asked for, while the socket goes to the address that was checked. Redirects are followed one by one
through the same door. Proxies and ``.netrc`` from the environment are ignored: a proxy would resolve names on its own.
"""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Self
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from backroom.model.control import RetryAfter, Unrecoverable
from backroom.outbound.network import NetworkPolicy

__all__ = [
    "CallFailed",
    "NotCallable",
    "Outbound",
    "Response",
    "ResponseTooLarge",
    "check_status",
    "origin",
    "retry_after",
]

CHUNK_BYTES = 64 * 1024
#: A server that asks for more patience than this is asked again after this many seconds.
MAX_RETRY_AFTER_SECONDS = 86_400.0
#: The whole body has to arrive within this many times the time-out for one answer.
BODY_TIMEOUTS = 6
#: Refusals below 500 that may pass.
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_PORTS = {"http": 80, "https": 443}


class CallFailed(Exception):
    """A call failed in a way that may pass: no connection, no answer in time, a server error. Worth a retry."""


class NotCallable(Unrecoverable):
    """The address is none that a job can call."""


class ResponseTooLarge(Unrecoverable):
    """The body is larger than jobs may read."""


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one call, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    #: The address that answered, after redirects.
    url: str


def origin(url: str) -> str:
    """Scheme, host and port of ``url`` in lower case, the port only when it is not the scheme's own.

    Raises `NotCallable` for what is no http:// or https:// address, and for one with a user name or password in it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise NotCallable(f"cannot be called: {error}") from None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        raise NotCallable("only http:// and https:// addresses without a password in them can be called")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + ("" if port in {None, _PORTS[parts.scheme]} else f":{port}")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3: a number or a date), None without a valid one."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        seconds = float(text)
    else:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def check_status(response: Response) -> None:
    """Turn a refusal into how a job ends: `RetryAfter`, `CallFailed` (worth a retry) or `Unrecoverable`.

    2xx and 304 pass.
    """
    status = response.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES or status == HTTPStatus.NOT_MODIFIED:
        return
    where = f"{origin(response.url)} answered {status}"
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        seconds = retry_after(response.headers, datetime.now(UTC))
        if seconds is not None:
            raise RetryAfter(seconds, f"{where} and asks to come back in {seconds:g} s")
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise CallFailed(where)
    raise Unrecoverable(where)


class _CheckedConnection(HTTPConnection):
    """Connects to a checked address of its host. `_new_conn` is where urllib3's own SOCKS support steps in, too."""

    policy: NetworkPolicy

    def _new_conn(self) -> socket.socket:
        failure: OSError | None = None
        try:
            addresses = self.policy.resolve(self._dns_host, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        for address in addresses:
            try:
                return create_connection((address, self.port), self.timeout, socket_options=self.socket_options)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"connecting to {self.host} took longer than {self.timeout} s") from failure
        raise NewConnectionError(self, f"cannot connect to {self.host}: {failure}") from failure


class _CheckedTLSConnection(_CheckedConnection, HTTPSConnection):
    """The same under TLS, which still verifies the host's name."""


class _CheckedAdapter(HTTPAdapter):
    """Makes `requests` open its connections through a policy."""

    def __init__(self, policy: NetworkPolicy) -> None:
        super().__init__(max_retries=0)
        members = {"policy": policy}
        plain, tls = (type(base.__name__, (base,), members) for base in (_CheckedConnection, _CheckedTLSConnection))
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("CheckedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("CheckedTLSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }


class _Session(requests.Session):
    """Leaves redirects alone: `requests` reads the body of one, however long, even where it is not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """There is none."""


class Outbound:
    """The client; a context manager that keeps connections open while it lives. Not for use by several threads."""

    def __init__(
        self,
        *,
        policy: NetworkPolicy | None = None,
        timeout: float = 10.0,
        max_bytes: int = 20 * 1024 * 1024,
        ca_file: str | None = None,
    ) -> None:
        """``timeout``: seconds to connect and to answer; ``max_bytes``: of a body; ``ca_file``: own authorities."""
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._verify = ca_file or True
        self._session = _Session()
        self._session.trust_env = False
        self._session.headers["User-Agent"] = "backroom"
        adapter = _CheckedAdapter(policy or NetworkPolicy())
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, redirects: int = 5) -> Response:
        """GET ``url`` and follow that many redirects at most; ``headers`` go to the first origin only.

        Raises `NotCallable`, `AddressRefused`, `ResponseTooLarge` or `CallFailed`; a status is for `check_status`.
        """
        first = origin(url)
        for _ in range(redirects + 1):
            response = self._call("GET", url, headers if origin(url) == first else None)
            location = response.headers.get("Location")
            if response.status not in {301, 302, 303, 307, 308} or location is None:
                return response
            target = urljoin(url, location)
            if url.startswith("https:") and not target.startswith("https:"):
                raise NotCallable(f"{origin(url)} redirects to an address without TLS: {target[:200]!r}")
            url = target
        raise NotCallable(f"{first} redirects more than {redirects} times, at last to {url[:200]!r}")

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, read: bool = True) -> Response:
        """POST ``body`` to ``url``; a redirect is not followed. Raises as `get` does.

        With ``read=False`` the body of the answer is left unread, and is empty here.
        """
        return self._call("POST", url, headers, body, read=read)

    def _call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | None = None,
        *,
        read: bool = True,
    ) -> Response:
        where = origin(url)
        try:
            with self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                timeout=self._timeout,
                stream=True,
                verify=self._verify,
            ) as response:
                content = self._read(response, where) if read else b""
                return Response(response.status_code, CaseInsensitiveDict(response.headers), content, url)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, UnicodeError) as error:
            raise NotCallable(f"cannot be called: {error}") from error
        except (requests.exceptions.RequestException, HTTPError, OSError) as error:
            raise CallFailed(f"calling {where} failed: {error}") from error

    def _read(self, response: requests.Response, where: str) -> bytes:
        """The body, decompressed. Each read takes what is there, so a server that drips bytes is noticed in time."""
        deadline = time.monotonic() + BODY_TIMEOUTS * self._timeout
        content = bytearray()
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            content += chunk
            if len(content) > self._max_bytes:
                raise ResponseTooLarge(f"{where} answered with more than {self._max_bytes} bytes")
            if time.monotonic() > deadline:
                raise CallFailed(f"{where} did not send its whole answer within {BODY_TIMEOUTS * self._timeout:g} s")
        return bytes(content)
