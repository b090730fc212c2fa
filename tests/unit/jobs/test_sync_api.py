"""What a page says; `tests/integration/jobs` pulls some."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from backroom import Unrecoverable
from backroom.model.errors import InvalidInput
from backroom.model.job_types import check_data
from backroom.outbound import CallFailed, Response
from services.worker.jobs.sync_api import SyncApi, assemble, field_at, items_of, lines, next_url, parse, part_name

if TYPE_CHECKING:
    from services.worker.support.artifacts import ArtifactStore

SCHEMA = json.dumps(SyncApi.model_json_schema())
URL = "https://api.example/things?size=2"


def answer(body: bytes = b"[]", link: str = "") -> Response:
    return Response(200, {"Link": link} if link else {}, body, URL)


def following(page: Any = None, link: str = "", **fields: Any) -> str | None:
    return next_url(SyncApi.model_validate({"url": URL, **fields}), answer(link=link), page)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("", None),
        ('<https://api.example/things?page=2>; rel="next"', "https://api.example/things?page=2"),
        ('<?page=2>; rel="next", <?page=9>; rel="last"', "https://api.example/things?page=2"),
        ('</other>; rel="prev", </more>; rel="next"', "https://api.example/more"),
        ("<?page=2>; rel=next", "https://api.example/things?page=2"),
        ('<?page=2>; rel="last next"', "https://api.example/things?page=2"),
        ('<?page=2>; rel="NEXT"', "https://api.example/things?page=2"),
        ('<?page=1>; rel="prev"', None),
        ('<?page=2>; title="next"', None),
    ],
)
def test_a_link_header_says_where_it_goes_on(link: str, expected: str | None) -> None:
    assert following(link=link) == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ({"meta": {"next": "ab c&d"}}, "https://api.example/things?size=2&cursor=ab+c%26d"),
        ({"meta": {"next": 7}}, "https://api.example/things?size=2&cursor=7"),
        ({"meta": {"next": 0}}, "https://api.example/things?size=2&cursor=0"),
        ({"meta": {"next": None}}, None),
        ({"meta": {"next": ""}}, None),
        ({"meta": {"next": False}}, None),
        ({"meta": {}}, None),
        ({"meta": []}, None),
        ([], None),
    ],
)
def test_a_cursor_in_the_page_says_where_it_goes_on(page: Any, expected: str | None) -> None:
    assert following(page, link='<?page=2>; rel="next"', cursorField="meta.next") == expected


def test_a_cursor_replaces_the_one_before() -> None:
    assert following(
        {"next": "b"}, url="https://api.example/x?after=a&y=1", cursorField="next", cursorParam="after"
    ) == ("https://api.example/x?y=1&after=b")


@pytest.mark.parametrize("cursor", [{"a": 1}, [1], 1.5, True])
def test_a_cursor_that_is_none_fails_at_once(cursor: object) -> None:
    with pytest.raises(Unrecoverable):
        following({"next": cursor}, cursorField="next")


@pytest.mark.parametrize(
    ("page", "path", "expected"),
    [
        ([1, 2], None, [1, 2]),
        ({"items": [1]}, None, [1]),
        ({"things": [1]}, None, [{"things": [1]}]),
        ({"items": 3}, None, [{"items": 3}]),
        ("text", None, ["text"]),
        ({"data": {"things": [1, 2]}}, "data.things", [1, 2]),
    ],
)
def test_a_page_has_items(page: Any, path: str | None, expected: list[Any]) -> None:
    assert items_of(page, path) == expected


@pytest.mark.parametrize("page", [{}, {"things": {}}, [], None])
def test_a_page_without_its_items_fails_at_once(page: Any) -> None:
    with pytest.raises(Unrecoverable, match="things"):
        items_of(page, "things")


def test_nothing_is_found_where_nothing_is() -> None:
    assert field_at({"a": {"b": 1}}, "a.b") == 1
    assert field_at({"a": {"b": 1}}, "a.c.d") is None
    assert field_at({"a": 1}, "a.b") is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1,", b"[NaN]", b"\xff", b"[" * 100_000])
def test_a_page_that_is_not_json_is_tried_again(body: bytes) -> None:
    with pytest.raises(CallFailed, match="not JSON"):
        parse(answer(body))


def test_the_pages_of_a_run_become_one_artifact(artifacts: ArtifactStore) -> None:
    artifacts.write(part_name("run", 1), lines([{"a": "ü"}, {"a": 2}]))
    artifacts.write(part_name("run", 2), lines([]))
    artifacts.write(part_name("run", 3), lines([3]))
    whole = assemble(artifacts, "run", 3)
    assert artifacts.read(whole.name) == '{"a":"ü"}\n{"a":2}\n3\n'.encode()
    assert [artifact.name for artifact in artifacts] == [whole.name]


def test_half_a_surrogate_pair_stays_what_it_was() -> None:
    (line,) = lines(json.loads(r'["\ud800"]'))
    assert line == b'"\\ud800"\n'
    assert json.loads(line) == "\ud800"


def test_assembling_again_after_a_crash_changes_nothing(artifacts: ArtifactStore) -> None:
    for page in (1, 2):
        artifacts.write(part_name("run", page), lines([page]))
    assemble(artifacts, "run", 2)
    artifacts.write(part_name("run", 2), lines([2]))  # the last page is pulled again
    assert artifacts.read(assemble(artifacts, "run", 2).name) == b"1\n2\n"
    assert len(list(artifacts)) == 1


def test_a_run_whose_pages_are_gone_fails_and_says_why(artifacts: ArtifactStore) -> None:
    artifacts.write(part_name("run", 2), lines([2]))
    with pytest.raises(Unrecoverable, match="BACKROOM_ARTIFACTS_DIR"):
        assemble(artifacts, "run", 2)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"url": "ftp://api.example/"},
        {"url": URL, "maxPages": 0},
        {"url": URL, "maxPages": 10_001},
        {"url": URL, "cursorField": "a..b"},
        {"url": URL, "cursorParam": "a&b"},
        {"url": URL, "etag": "no quotes"},
        {"url": URL, "etag": '"a"\r\nX: y'},
        {"url": URL, "position": {"run": "../x", "page": 1, "url": URL}},
        {"url": URL, "token": "secret"},
    ],
)
def test_data_of_another_form_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SyncApi.model_validate(data)
    with pytest.raises(InvalidInput):
        check_data(SCHEMA, data)
