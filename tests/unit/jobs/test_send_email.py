"""How a mail is put together; `tests/integration/jobs` sends it."""

from __future__ import annotations

import email
import json
from datetime import UTC, datetime
from email import policy
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from backroom import Unrecoverable
from backroom.model.errors import InvalidInput, NotFound
from backroom.model.job_types import check_data
from services.worker.jobs.send_email import SendEmail, compose, send_email

if TYPE_CHECKING:
    from email.message import EmailMessage

    from services.worker.support.artifacts import ArtifactStore

SCHEMA = json.dumps(SendEmail.model_json_schema())
MAIL = {"to": ["ann@example.com"], "subject": "Hello", "text": "Hi"}


@pytest.fixture
def composed(artifacts: ArtifactStore):
    """Compose a mail and read it back as its receiver would."""

    def compose_and_read(sender: str = "Back Room <room@example.com>", **fields: Any) -> EmailMessage:
        message = compose(
            SendEmail.model_validate({**MAIL, **fields}),
            sender=sender,
            message_id="<id-1@example.com>",
            date=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
            artifacts=artifacts,
        )
        return email.message_from_bytes(message.as_bytes(), policy=policy.default)

    return compose_and_read


def test_the_headers_are_those_of_a_mail_from_a_machine(composed) -> None:
    message = composed(cc=["bob@example.com"], replyTo="desk@example.com")
    assert message["From"] == "Back Room <room@example.com>"
    assert message["To"] == "ann@example.com"
    assert message["Cc"] == "bob@example.com"
    assert message["Reply-To"] == "desk@example.com"
    assert message["Subject"] == "Hello"
    assert message["Message-ID"] == "<id-1@example.com>"
    assert message["Date"].datetime == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert message["Auto-Submitted"] == "auto-generated"


def test_who_gets_a_blind_copy_is_nowhere_in_the_mail(composed) -> None:
    assert "secret@example.com" not in composed(bcc=["secret@example.com"]).as_string()
    assert SendEmail.model_validate({**MAIL, "bcc": ["secret@example.com"]}).recipients == (
        "ann@example.com",
        "secret@example.com",
    )


def test_nobody_gets_a_mail_twice() -> None:
    data = SendEmail.model_validate({**MAIL, "cc": MAIL["to"], "bcc": MAIL["to"]})
    assert data.recipients == ("ann@example.com",)


def test_a_job_for_those_who_were_put_off_is_for_those_only() -> None:
    data = SendEmail.model_validate({**MAIL, "cc": ["bob@example.com"], "only": ["bob@example.com"]})
    assert data.recipients == ("bob@example.com",)


def test_text_and_html_are_two_forms_of_one_mail(composed) -> None:
    message = composed(text="Grüße ✓", html="<p>Grüße</p>")
    assert message.get_content_type() == "multipart/alternative"
    assert message.get_body(("plain",)).get_content().splitlines() == ["Grüße ✓"]
    assert message.get_body(("html",)).get_content().splitlines() == ["<p>Grüße</p>"]


def test_html_alone_is_enough(composed) -> None:
    message = composed(text=None, html="<b>x</b>")
    assert message.get_content_type() == "text/html"


def test_a_subject_may_be_in_any_language_and_long(composed) -> None:
    subject = "Größe ✓ " * 30
    assert composed(subject=subject.strip())["Subject"] == subject.strip()


def test_artifacts_are_attached_with_their_names_and_kinds(composed, artifacts: ArtifactStore) -> None:
    artifacts.write("a.pdf", b"%PDF-")
    artifacts.write("b.unheard-of", b"\x00\xff")
    found = list(composed(attachments=["a.pdf", "b.unheard-of"]).iter_attachments())
    assert [(part.get_filename(), part.get_content_type(), part.get_content()) for part in found] == [
        ("a.pdf", "application/pdf", b"%PDF-"),
        ("b.unheard-of", "application/octet-stream", b"\x00\xff"),
    ]


def test_a_text_file_is_attached_as_it_is(composed, artifacts: ArtifactStore) -> None:
    artifacts.write("a.csv", b"x;y\n")
    (part,) = composed(attachments=["a.csv"]).iter_attachments()
    assert part.get_content_type() == "text/csv"
    assert part.get_payload(decode=True) == b"x;y\n"


def test_a_missing_artifact_is_not_found(composed) -> None:
    with pytest.raises(NotFound):
        composed(attachments=["gone.pdf"])


def test_the_job_fails_at_once_without_its_artifact(artifacts: ArtifactStore) -> None:
    with pytest.raises(Unrecoverable, match=r"gone\.pdf"):
        send_email({**MAIL, "attachments": ["gone.pdf"]})


def test_the_job_fails_at_once_without_a_mail_server(artifacts: ArtifactStore) -> None:
    with pytest.raises(Unrecoverable, match="BACKROOM_SMTP_HOST"):
        send_email(MAIL)


LINE_BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0"]


@pytest.mark.parametrize("mark", LINE_BREAKS)
def test_no_header_can_be_smuggled_in(mark: str) -> None:
    for fields in (
        {"subject": f"Hello{mark}Bcc: eve@example.com"},
        {"to": [f"ann@example.com{mark}Bcc: eve@example.com"]},
        {"cc": [f"ann@example.com{mark}"]},
        {"replyTo": f"{mark}ann@example.com"},
    ):
        with pytest.raises(ValidationError):
            SendEmail.model_validate({**MAIL, **fields})
        with pytest.raises(InvalidInput):
            check_data(SCHEMA, {**MAIL, **fields})


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "a b@example.com",
        "ann@exam ple.com",
        "Ann <ann@example.com>",
        "ann@example.com, bob@example.com",
        '"ann"@example.com',
        "ann@-example.com",
        "ann@example..com",
        "a@" + "x" * 64 + ".com",
        "x" * 65 + "@example.com",
        "änn@example.com",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        SendEmail.model_validate({**MAIL, "to": [address]})
    with pytest.raises(InvalidInput):
        check_data(SCHEMA, {**MAIL, "to": [address]})


@pytest.mark.parametrize(
    "address",
    ["ann@example.com", "a.b+c_d@sub.example.co", "ann@localhost", "o'neil@example.com", "x@xn--bcher-kva.example"],
)
def test_addresses_are_taken(address: str) -> None:
    data = {**MAIL, "to": [address]}
    check_data(SCHEMA, data)
    assert SendEmail.model_validate(data).to == (address,)


@pytest.mark.parametrize(
    "fields",
    [
        {"to": []},
        {"to": "ann@example.com"},
        {"to": ["ann@example.com"] * 51},
        {"text": None},
        {"text": ""},
        {"subject": None},
        {"subject": "x" * 501},
        {"attachments": ["../../etc/passwd"]},
        {"attachments": ["a"] * 11},
        {"from": "eve@example.com"},
        {"headers": {"Bcc": "eve@example.com"}},
    ],
)
def test_data_of_another_form_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SendEmail.model_validate({**MAIL, **fields})


def test_a_mail_without_text_and_html_is_refused_over_http_too() -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_data(SCHEMA, {"to": ["ann@example.com"], "subject": "Hello"})
    assert [error.pointer for error in refusal.value.errors] == ["/data/text"]
