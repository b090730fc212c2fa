"""Images from a real web server."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from backroom import RetryAfter, Unrecoverable
from backroom.outbound import AddressRefused, CallFailed, ResponseTooLarge
from services.worker.jobs.resize_image import resize_image
from tests.integration.jobs.servers import Answer, http_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.worker.support.artifacts import ArtifactStore


def picture() -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (80, 40), "red").save(output, "JPEG")
    return output.getvalue()


def run(url: str) -> dict[str, Any]:
    return resize_image({"source": {"url": url}, "width": 20})


def test_an_image_is_fetched_and_scaled(loopback_allowed: None, artifacts: ArtifactStore) -> None:
    with http_server(lambda _: Answer(body=picture())) as server:
        result = run(f"{server.url}/a.jpg")
    assert (result["width"], result["height"], result["format"]) == (20, 10, "jpeg")
    assert Image.open(io.BytesIO(artifacts.read(result["artifact"]))).size == (20, 10)


def test_by_default_an_image_in_a_private_network_is_not_fetched(artifacts: ArtifactStore) -> None:
    with http_server(lambda _: Answer(body=picture())) as server, pytest.raises(AddressRefused):
        run(server.url)
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (Answer(404), Unrecoverable),
        (Answer(500), CallFailed),
        (Answer(503, headers={"Retry-After": "3"}), RetryAfter),
        (Answer(body=b"<html>"), Unrecoverable),
    ],
)
def test_a_server_without_the_image_ends_the_job_as_it_deserves(
    loopback_allowed: None, answer: Answer, ending: type[Exception]
) -> None:
    with http_server(lambda _: answer) as server, pytest.raises(ending):
        run(server.url)


def test_an_image_file_that_is_too_large_is_not_read(loopback_allowed: None, configure: Callable[..., None]) -> None:
    configure(jobs_max_response_bytes="1024")
    with http_server(lambda _: Answer(body=b"x" * 2000)) as server, pytest.raises(ResponseTooLarge):
        run(server.url)
