"""``send-email``: a mail through the SMTP server of the settings, with artifacts attached."""

import logging
import mimetypes
import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Annotated, Any, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator

from backroom import Exponential, Unrecoverable, current_job, job
from backroom.model.errors import NotFound
from services.worker.support.artifacts import ARTIFACT_NAME, ArtifactStore
from services.worker.support.data import JobData
from services.worker.support.endings import follow_up_id, unrecoverable
from services.worker.support.settings import JobSettings, get_job_settings

log = logging.getLogger(__name__)

PORTS = {"none": 25, "starttls": 587, "tls": 465}
#: A server that put some recipients off is asked again for those after this many seconds; then backoff applies.
DEFERRED_SECONDS = 60

#: From here on an answer of the server means "never" rather than "not now" (RFC 5321, 4.2.1).
PERMANENT = 500

#: What HTML calls a valid e-mail address: no spaces, quotes, commas or line breaks, so nothing to inject.
EmailAddress = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
        r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
        max_length=254,
    ),
]
Recipients = Annotated[tuple[EmailAddress, ...], Field(max_length=50)]
#: A header in one line: none of what any mail program might take for a line break.
OneLine = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$", max_length=500)]
Body = Annotated[str, Field(min_length=1, max_length=200_000)]


class SendEmail(JobData):
    """A mail. It needs a recipient, and text, HTML or both."""

    # The same as `_check_parts`, for those who check the data by its JSON Schema.
    model_config = ConfigDict(json_schema_extra={"if": {"not": {"required": ["html"]}}, "then": {"required": ["text"]}})

    to: Annotated[tuple[EmailAddress, ...], Field(min_length=1, max_length=50)]
    cc: Recipients = ()
    bcc: Recipients = ()
    reply_to: EmailAddress | None = None
    subject: OneLine
    text: Body | None = None
    html: Body | None = None
    attachments: Annotated[tuple[Annotated[str, Field(pattern=ARTIFACT_NAME)], ...], Field(max_length=10)] = Field(
        (), description="Names of artifacts."
    )
    only: Recipients = Field(
        (), description="Deliver to these recipients only; set when a server has put off some of several."
    )

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.text is None and self.html is None:
            raise ValueError("needs text, html, or both")
        return self

    @property
    def recipients(self) -> tuple[str, ...]:
        """Everybody the mail is to be delivered to, once each."""
        return tuple(dict.fromkeys(self.only or (*self.to, *self.cc, *self.bcc)))


class MailRefused(Unrecoverable):
    """The mail server refuses for good (5xx)."""


class MailDeferred(Exception):
    """The mail server cannot take the mail now (4xx); worth a retry."""


class Refusal(NamedTuple):
    """What a server answered to one command."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"

    @property
    def temporary(self) -> bool:
        """Whether the same may be accepted later; smtplib's -1, an answer that was none, counts as that."""
        return self.code < PERMANENT

    @classmethod
    def of(cls, code: int, text: bytes | str) -> Self:
        """From smtplib's words."""
        return cls(code, (text.decode(errors="replace") if isinstance(text, bytes) else text)[:500])


def compose(data: SendEmail, *, sender: str, message_id: str, date: datetime, artifacts: ArtifactStore) -> EmailMessage:
    """The message. ``Bcc`` is nowhere in it. Raises `NotFound` for an artifact that is not there."""
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = sender
    message["To"] = ", ".join(data.to)
    if data.cc:
        message["Cc"] = ", ".join(data.cc)
    if data.reply_to is not None:
        message["Reply-To"] = data.reply_to
    message["Subject"] = data.subject
    message["Date"] = format_datetime(date)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices, please
    if data.text is not None:
        message.set_content(data.text)
        if data.html is not None:
            message.add_alternative(data.html, subtype="html")
    else:
        message.set_content(data.html, subtype="html")
    for name in data.attachments:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        main, sub = kind.split("/", 1)
        message.add_attachment(artifacts.read(name), maintype=main, subtype=sub, filename=name)
    return message


def connect(settings: JobSettings) -> smtplib.SMTP:
    """A connection to the mail server, encrypted and signed in as the settings say."""
    if settings.smtp_host is None:
        raise Unrecoverable("there is no mail server: set BACKROOM_SMTP_HOST")
    port = settings.smtp_port or PORTS[settings.smtp_tls]
    timeout = settings.smtp_timeout_seconds
    if settings.smtp_tls == "none":
        return smtplib.SMTP(settings.smtp_host, port, timeout=timeout)
    context = ssl.create_default_context(cafile=settings.smtp_ca_file)
    if settings.smtp_tls == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(settings.smtp_host, port, timeout=timeout, context=context)
    else:
        server = smtplib.SMTP(settings.smtp_host, port, timeout=timeout)
    try:
        if settings.smtp_tls == "starttls":
            server.starttls(context=context)
        if settings.smtp_username is not None and settings.smtp_password is not None:
            server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
    except BaseException:
        server.close()
        raise
    return server


def deliver(message: bytes, *, sender: str, recipients: Sequence[str], settings: JobSettings) -> dict[str, Refusal]:
    """Hand ``message`` to the mail server; the answer holds the recipients it did not take, at least one was taken.

    Raises `MailRefused` or `MailDeferred` when nobody gets the mail, and `OSError` when the connection fails.
    """
    try:
        server = connect(settings)
        try:
            refused = server.sendmail(sender, recipients, message)
        finally:
            # The mail is delivered or refused by now: a failing farewell must not send it again.
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
            server.close()
    except smtplib.SMTPRecipientsRefused as error:
        answers = {address: Refusal.of(*answer) for address, answer in error.recipients.items()}
        words = "; ".join(f"{address}: {answer}" for address, answer in answers.items())
        raise (MailDeferred if any(answer.temporary for answer in answers.values()) else MailRefused)(words) from error
    except smtplib.SMTPResponseException as error:
        answer = Refusal.of(error.smtp_code, error.smtp_error)
        raise (MailDeferred if answer.temporary else MailRefused)(str(answer)) from error
    except smtplib.SMTPNotSupportedError as error:
        raise MailRefused(f"the mail server cannot do what the settings ask for: {error}") from error
    except smtplib.SMTPException as error:  # it hung up in the middle, or spoke nonsense
        raise MailDeferred(str(error)) from error
    return {address: Refusal.of(*answer) for address, answer in refused.items()}


@job("send-email", queue="mail", attempts=8, backoff=Exponential(15, jitter=0.5), timeout=300)
def send_email(data: SendEmail) -> dict[str, Any]:
    """Send a mail with text, HTML or both, and artifacts attached.

    A server that says "later" (4xx) is asked again with growing pauses, one that says "no" (5xx) is not. A worker that
    is killed between the server's thanks and our note of it sends the mail again, with the same Message-ID.
    """
    settings = get_job_settings()
    sender = parseaddr(settings.smtp_from)[1]
    message_id = f"<{current_job.id}@{sender.rpartition('@')[2]}>"
    with unrecoverable(NotFound):
        message = compose(
            data,
            sender=settings.smtp_from,
            message_id=message_id,
            date=datetime.now(UTC),
            artifacts=ArtifactStore.from_settings(),
        ).as_bytes()
    if len(message) > settings.smtp_max_message_bytes:
        raise Unrecoverable(f"the mail has {len(message)} bytes; the limit is {settings.smtp_max_message_bytes}")
    current_job.progress(50, "composed")
    refused = deliver(message, sender=sender, recipients=data.recipients, settings=settings)
    log.info("taken for %d of %d recipients", len(data.recipients) - len(refused), len(data.recipients))
    for address, answer in refused.items():
        log.warning("not taken for %s: %s", address, answer)
    # Another try of this job would send the mail twice to those who have it, so the rest gets a job of its own.
    later = tuple(address for address, answer in refused.items() if answer.temporary)
    deferred = follow_up_id(current_job.id, "deferred") if later else None
    if deferred is not None:
        send_email.apply_async((data.model_copy(update={"only": later}),), task_id=deferred, countdown=DEFERRED_SECONDS)
    return {
        "messageId": message_id,
        "accepted": [address for address in data.recipients if address not in refused],
        "refused": {address: str(answer) for address, answer in refused.items() if not answer.temporary},
        "deferred": {"recipients": list(later), "jobId": deferred} if later else None,
    }
