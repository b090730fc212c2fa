from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from services.worker.support.settings import JobSettings, get_job_settings

if TYPE_CHECKING:
    from collections.abc import Callable


def test_every_setting_is_described() -> None:
    assert all(field.description for field in JobSettings.model_fields.values())


def test_without_settings_no_private_network_is_allowed() -> None:
    assert JobSettings().jobs_allowed_networks == ()


def test_networks_are_separated_by_commas_and_an_address_is_a_network_of_one(configure: Callable[..., None]) -> None:
    configure(jobs_allowed_networks="127.0.0.1, 10.0.0.0/8,fd00::/8,")
    assert get_job_settings().jobs_allowed_networks == tuple(
        ip_network(text) for text in ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8")
    )


@pytest.mark.parametrize("text", ["10.0.0.1/8", "all", "10.0.0.0/33"])
def test_what_is_no_network_is_refused_at_start(configure: Callable[..., None], text: str) -> None:
    configure(jobs_allowed_networks=text)
    with pytest.raises(ValidationError):
        get_job_settings()


def test_a_password_is_never_sent_in_the_clear(configure: Callable[..., None]) -> None:
    configure(smtp_username="me", smtp_password="secret", smtp_tls="none")
    with pytest.raises(ValidationError, match="BACKROOM_SMTP_TLS"):
        get_job_settings()


def test_a_user_name_needs_a_password(configure: Callable[..., None]) -> None:
    configure(smtp_username="me")
    with pytest.raises(ValidationError, match="BACKROOM_SMTP_PASSWORD"):
        get_job_settings()


@pytest.mark.parametrize("sender", ["backroom", "a@b, c@d", "Name <a@b> x", "a@b\nBcc: c@d", "", "Name <>"])
def test_a_sender_that_is_no_address_is_refused_at_start(sender: str) -> None:
    with pytest.raises(ValidationError):
        JobSettings(smtp_from=sender)


@pytest.mark.parametrize("sender", ["a@b.example", "Back Room <a@b.example>", "Größe <a@b.example>"])
def test_a_sender_is_an_address_with_or_without_a_name(sender: str) -> None:
    assert JobSettings(smtp_from=sender).smtp_from == sender


def test_secrets_do_not_show(configure: Callable[..., None]) -> None:
    configure(
        smtp_username="me",
        smtp_password="hush-1",
        vapid_private_key="hush-2",
        sync_api_tokens='{"https://api.example": "hush-3"}',
    )
    assert "hush" not in repr(get_job_settings())


@pytest.mark.parametrize("origin", ["api.example", "https://api.example/", "https://API.example", "ftp://api.example"])
def test_a_token_for_what_is_no_origin_is_refused_at_start(configure: Callable[..., None], origin: str) -> None:
    configure(sync_api_tokens=f'{{"{origin}": "t"}}')
    with pytest.raises(ValidationError, match="is no origin"):
        get_job_settings()
