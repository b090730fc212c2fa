"""From an open stack to one with keys, by the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from backroom.client.cli.program import run
from tests.integration.api.service import Api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backroom.local.server import EmbeddedServer


@pytest.fixture
def api(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path, own_server.url, "keys", BACKROOM_API_KEY_FRESH_SECONDS="0.1") as api:
        yield api


def test_the_first_key_closes_the_stack_and_opens_it_for_those_who_have_one(api, monkeypatch, capsys):
    def backroom(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        return run(words), capsys.readouterr().out.strip()

    monkeypatch.setenv("BACKROOM_URL", api.url)
    monkeypatch.delenv("BACKROOM_KEY", raising=False)
    assert backroom("keys", "create", "shop", "--role", "submit") == (3, "")
    code, admin = backroom("keys", "create", "ops", "--role", "admin")
    assert code == 0

    monkeypatch.setenv("BACKROOM_KEY", admin)
    code, shop = backroom("keys", "create", "shop", "--role", "submit", "--queue", "mail")
    assert code == 0
    listed = [json.loads(line) for line in backroom("keys", "list", "--json")[1].splitlines()]
    assert [(key["name"], key["roles"], key["queues"]) for key in listed] == [
        ("ops", ["admin"], None),
        ("shop", ["submit"], ["mail"]),
    ]
    assert backroom("keys", "list", "--key", shop)[0] == 3
    assert backroom("keys", "revoke", listed[1]["id"])[0] == 0
    assert backroom("keys", "revoke", listed[0]["id"])[0] == 3
