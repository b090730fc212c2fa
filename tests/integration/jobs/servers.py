"""Servers on the loopback interface for the jobs to call: HTTP, with or without TLS, and SMTP."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from email.message import EmailMessage
    from pathlib import Path

__all__ = ["Answer", "Authority", "HttpServer", "MailServer", "Request", "http_server", "mail_server"]


class Authority:
    """A certificate authority of the tests' own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests")])
        signing_only = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **signing_only), critical=True
            )
        )
        #: The file to trust.
        self.file = folder / "authority.pem"
        self.file.write_bytes(certificate.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            # Python 3.13 takes no certificate that does not say whose keys these are.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def context(self, *names: str) -> ssl.SSLContext:
        """What a server needs to prove that it is ``names``, which are host names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._builder(subject, key).add_extension(
            x509.SubjectAlternativeName(alternatives), critical=False
        )
        file = self._folder / f"{'-'.join(names).replace(':', '_')}.pem"
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.sign(self._key, SHA256()).public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@dataclass(frozen=True)
class Request:
    """What a server was asked."""

    method: str
    #: With the query.
    path: str
    headers: dict[str, str]
    body: bytes
    at: datetime
    #: Address and port of the caller.
    caller: tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """What it answers. A body in parts is sent part by part, without a length, until the connection is closed."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class HttpServer:
    """A running server; ``requests`` are those it got so far, in order."""

    #: Such as ``http://127.0.0.1:1234``.
    url: str
    port: int
    requests: list[Request] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@contextmanager
def http_server(
    answer: Callable[[Request], Answer],
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    name: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[HttpServer]:
    """Answer every request by ``answer``; ``name`` is the host in the server's URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(
                self.command, self.path, dict(self.headers.items()), body, datetime.now(UTC), self.client_address
            )
            running.requests.append(request)
            given = answer(request)
            self.send_response(given.status)
            for header, value in given.headers.items():
                self.send_header(header, value)
            if isinstance(given.body, bytes):
                self.send_header("Content-Length", str(len(given.body)))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            try:
                for part in (given.body,) if isinstance(given.body, bytes) else given.body:
                    self.wfile.write(part)
                    self.wfile.flush()
            except OSError:
                self.close_connection = True  # the caller has heard enough

        do_GET = do_POST = _answer  # noqa: N815 - the names that the base class looks for

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A caller that goes away, or does not trust us, is what some tests are about."""

    server = Server((address, port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    port = server.server_address[1]
    running = HttpServer(f"{'http' if tls is None else 'https'}://{name or address}:{port}", port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class MailServer:
    """A running mail server and what it got."""

    port: int
    #: ``(sender, recipients, message)`` of every mail it took.
    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    #: Who tried to sign in.
    logins: list[str] = field(default_factory=list)
    #: What it answers to a recipient, in place of ``250 OK``; the last answer stays.
    recipients: dict[str, list[str]] = field(default_factory=dict)
    #: What it answers to the mail itself, in the order of the mails, before it takes one.
    refusals: list[str] = field(default_factory=list)
    #: What it answers to the farewell.
    farewell: str = "221 Bye"
    #: Set whenever a mail is taken.
    arrived: threading.Event = field(default_factory=threading.Event)

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd looks for
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answers = self.recipients.get(address, ["250 OK"])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802 - see above
        if self.refusals:
            return self.refusals.pop(0)
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        self.mails.append((envelope.mail_from or "", list(envelope.rcpt_tos), message))
        self.arrived.set()
        return "250 OK"

    async def handle_QUIT(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802 - see above
        return self.farewell


@contextmanager
def mail_server(
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    login: tuple[str, str] | None = None,
) -> Iterator[MailServer]:
    """Take mails; ``tls`` for STARTTLS, or from the start if ``implicit``; ``login`` is the only account there is."""
    running = MailServer(0)

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, given: LoginPassword) -> AuthResult:
        name, password = given.login.decode(), given.password.decode()
        running.logins.append(name)
        return AuthResult(success=login == (name, password), handled=False)

    def talk() -> SMTP:
        return SMTP(
            running,
            hostname="mail.example",
            tls_context=None if implicit else tls,
            require_starttls=tls is not None and not implicit,
            authenticator=authenticate if login else None,
            # aiosmtpd takes a connection that began with TLS for one without.
            auth_required=login is not None and not implicit,
            auth_require_tls=not implicit,
        )

    # aiosmtpd's own controller cannot listen on a port that the system chooses.
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> asyncio.Server:
        return await loop.create_server(talk, "127.0.0.1", 0, ssl=tls if implicit else None)

    async def stop() -> None:
        server.close()
        callers = asyncio.all_tasks() - {asyncio.current_task()}
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
