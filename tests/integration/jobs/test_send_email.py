"""Mails through a real mail server, with every mood it can be in."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from backroom import Unrecoverable
from services.worker.jobs.send_email import MailDeferred, MailRefused, send_email
from tests.integration.jobs.servers import Authority, mail_server
from tests.integration.ports import held_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.worker.support.artifacts import ArtifactStore

MAIL = {"to": ["ann@example.com"], "subject": "Hello", "text": "Hi"}
BOTH = {**MAIL, "cc": ["bob@example.com"]}


@pytest.fixture
def use(configure: Callable[..., None]) -> Callable[..., None]:
    """Point the job at a mail server."""

    def point(port: int, tls: str = "none", **settings: str) -> None:
        configure(
            smtp_host="127.0.0.1",
            smtp_port=str(port),
            smtp_tls=tls,
            smtp_from="Back Room <room@example.com>",
            **{"smtp_timeout_seconds": "30", **settings},
        )

    return point


def test_a_mail_arrives_as_it_was_written(use: Callable[..., None], artifacts: ArtifactStore) -> None:
    artifacts.write("report.pdf", b"%PDF-1.4 \x00\xff")
    with mail_server() as server:
        use(server.port)
        result = send_email(
            {
                **BOTH,
                "bcc": ["eve@example.com"],
                "subject": "Grüße",
                "text": ".\n.leading dots\n",
                "html": "<p>Hi</p>",
                "attachments": ["report.pdf"],
            }
        )
    ((sender, recipients, message),) = server.mails
    assert sender == "room@example.com"
    assert recipients == ["ann@example.com", "bob@example.com", "eve@example.com"]
    assert message["From"] == "Back Room <room@example.com>"
    assert message["Subject"] == "Grüße"
    assert message["Message-ID"] == result["messageId"]
    assert message.get_body(("plain",)).get_content().splitlines() == [".", ".leading dots"]
    (attachment,) = message.iter_attachments()
    assert attachment.get_content() == b"%PDF-1.4 \x00\xff"
    assert result["accepted"] == recipients
    assert (result["refused"], result["deferred"]) == ({}, None)


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_a_mail_goes_over_tls_with_a_password(
    use: Callable[..., None], authority: Authority, artifacts: ArtifactStore, mode: str
) -> None:
    context = authority.context("127.0.0.1")
    with mail_server(tls=context, implicit=mode == "tls", login=("me", "secret")) as server:
        use(server.port, mode, smtp_ca_file=str(authority.file), smtp_username="me", smtp_password="secret")
        send_email(MAIL)
    assert server.logins == ["me"]
    assert len(server.mails) == 1


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_a_mail_server_that_cannot_prove_its_name_gets_nothing(
    use: Callable[..., None], authority: Authority, artifacts: ArtifactStore, mode: str
) -> None:
    with mail_server(tls=authority.context("other.example"), implicit=mode == "tls") as server:
        use(server.port, mode, smtp_ca_file=str(authority.file))
        with pytest.raises(OSError, match="certificate verify failed"):
            send_email(MAIL)
    assert server.mails == []


def test_a_server_without_tls_gets_nothing_when_the_settings_ask_for_it(
    use: Callable[..., None], artifacts: ArtifactStore
) -> None:
    with mail_server() as server:
        use(server.port, "starttls")
        with pytest.raises(MailRefused, match="STARTTLS"):
            send_email(MAIL)
    assert server.mails == []


def test_a_wrong_password_fails_at_once(
    use: Callable[..., None], authority: Authority, artifacts: ArtifactStore
) -> None:
    with mail_server(tls=authority.context("127.0.0.1"), login=("me", "secret")) as server:
        use(server.port, "starttls", smtp_ca_file=str(authority.file), smtp_username="me", smtp_password="wrong")
        with pytest.raises(MailRefused, match="535"):
            send_email(MAIL)


@pytest.mark.parametrize(
    ("answer", "ending"),
    [("450 4.2.0 greylisted", MailDeferred), ("451 later", MailDeferred), ("550 5.1.1 unknown", MailRefused)],
)
def test_a_recipient_is_put_off_or_refused(
    use: Callable[..., None], artifacts: ArtifactStore, answer: str, ending: type[Exception]
) -> None:
    with mail_server() as server:
        server.recipients["ann@example.com"] = [answer]
        use(server.port)
        with pytest.raises(ending, match=f"ann@example.com: {answer}"):
            send_email(MAIL)


def test_when_all_are_refused_but_one_is_only_put_off_the_mail_is_tried_again(
    use: Callable[..., None], artifacts: ArtifactStore
) -> None:
    with mail_server() as server:
        server.recipients |= {"ann@example.com": ["550 no"], "bob@example.com": ["450 later"]}
        use(server.port)
        with pytest.raises(MailDeferred):
            send_email(BOTH)


@pytest.mark.parametrize(
    ("answer", "ending"), [("452 4.3.1 full", MailDeferred), ("421 bye", MailDeferred), ("554 5.7.1 spam", MailRefused)]
)
def test_a_mail_is_put_off_or_refused(
    use: Callable[..., None], artifacts: ArtifactStore, answer: str, ending: type[Exception]
) -> None:
    with mail_server() as server:
        server.refusals.append(answer)
        use(server.port)
        with pytest.raises(ending, match=answer):
            send_email(MAIL)
        send_email(MAIL)
    assert len(server.mails) == 1


def test_a_refusal_is_final_and_being_put_off_is_not() -> None:
    assert issubclass(MailRefused, Unrecoverable)
    assert not issubclass(MailDeferred, Unrecoverable)


def test_a_recipient_that_is_refused_does_not_keep_the_mail_from_the_others(
    use: Callable[..., None], artifacts: ArtifactStore
) -> None:
    with mail_server() as server:
        server.recipients["bob@example.com"] = ["550 5.1.1 unknown"]
        use(server.port)
        result = send_email(BOTH)
    assert result["accepted"] == ["ann@example.com"]
    assert result["refused"] == {"bob@example.com": "550 5.1.1 unknown"}
    assert result["deferred"] is None


@pytest.mark.parametrize("farewell", ["421 Go away", "500 What?"])
def test_a_bad_farewell_does_not_send_the_mail_again(
    use: Callable[..., None], artifacts: ArtifactStore, farewell: str
) -> None:
    with mail_server() as server:
        server.farewell = farewell
        use(server.port)
        assert send_email(MAIL)["accepted"] == ["ann@example.com"]


def test_nobody_at_the_port_is_worth_a_retry(use: Callable[..., None], artifacts: ArtifactStore) -> None:
    with held_port() as port:
        use(port)
        with pytest.raises(ConnectionRefusedError):
            send_email(MAIL)


def test_a_server_that_says_nothing_is_given_up(use: Callable[..., None], artifacts: ArtifactStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(silent.getsockname()[1], smtp_timeout_seconds="0.2")
        with pytest.raises(MailDeferred, match="timed out"):
            send_email(MAIL)


def test_a_server_that_hangs_up_is_worth_a_retry(use: Callable[..., None], artifacts: ArtifactStore) -> None:
    with mail_server() as server:
        server.recipients["ann@example.com"] = ["421 closing"]
        use(server.port)
        with pytest.raises(MailDeferred):
            send_email(MAIL)


def test_a_mail_that_is_too_large_is_not_sent(use: Callable[..., None], artifacts: ArtifactStore) -> None:
    artifacts.write("big.bin", b"x" * 5000)
    with mail_server() as server:
        use(server.port, smtp_max_message_bytes="4096")
        with pytest.raises(Unrecoverable, match="4096"):
            send_email({**MAIL, "attachments": ["big.bin"]})
    assert server.mails == []


def test_the_sender_comes_from_the_settings_alone(use: Callable[..., None], artifacts: ArtifactStore) -> None:
    fields: dict[str, Any] = {**MAIL, "text": "From: eve@example.com\n\nHi"}
    with mail_server() as server:
        use(server.port)
        send_email(fields)
    assert server.mails[0][2].get_all("From") == ["Back Room <room@example.com>"]
