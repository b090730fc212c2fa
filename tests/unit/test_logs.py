"""What lines look like, whoever chose their words."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from backroom import logs
from backroom.settings import Settings

#: Clears a terminal, and sets its title.
ODD = "/v1/jobs/\x1b[2J\x1b]0;title\x07\x9b2J\r\x00"


@pytest.fixture(autouse=True)
def _structlog_as_it_was():
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_no_line_works_the_terminal_that_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="console"))
    structlog.get_logger("test").info("said ö", path=ODD, status=200)

    line = capsys.readouterr().err
    assert line.rstrip("\n").isprintable()
    assert "/v1/jobs/\\x1b[2J" in line
    assert "said ö" in line


def test_nor_does_one_of_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("job", logging.INFO, __file__, 1, "for user %s\nand so on", (ODD,), None)

    line = logs.formatter(Settings(log_format="console")).format(record)

    assert all(part.isprintable() for part in line.split("\n"))
    assert line.count("\n") == 1


def test_json_says_all_of_it() -> None:
    record = logging.LogRecord("job", logging.INFO, __file__, 1, "for user %s", (ODD,), None)

    line = logs.formatter(Settings(log_format="json")).format(record)

    assert json.loads(line)["event"] == f"for user {ODD}"
