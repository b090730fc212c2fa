"""``sync-api``: pull everything that a paged HTTP API has, never faster than allowed.

One job pulls one page and submits the job of the next page. So the queue's rate limit, which holds over all workers, is
the rate of requests, and a page that fails is tried again on its own.
"""

import json
import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from pydantic import Field
from requests.utils import parse_header_links

from backroom import Exponential, Unrecoverable, current_job, job
from backroom.engine.app import current_store
from backroom.model.errors import NotFound, TooLarge
from backroom.outbound import CallFailed, Response, check_status, origin
from backroom.store import Rate
from services.worker.support.artifacts import Artifact, ArtifactStore
from services.worker.support.calling import outbound
from services.worker.support.data import HttpUrl, JobData
from services.worker.support.endings import follow_up_id, unrecoverable
from services.worker.support.rate import require_rate
from services.worker.support.settings import JobSettings, get_job_settings

log = logging.getLogger(__name__)

#: No sane server's is longer; one that is cut matches nothing, and all is pulled.
MAX_ETAG = 512

FieldPath = Annotated[str, Field(pattern=r"^[^.]{1,64}(\.[^.]{1,64}){0,7}$")]


class Position(JobData):
    """How far a run has come."""

    #: The id of the job that began it.
    run: str = Field(pattern=r"^[A-Za-z0-9._~-]{1,128}$")
    #: The page to pull, 1 first, and its address.
    page: int = Field(ge=1)
    url: HttpUrl
    #: Items pulled so far.
    items: int = Field(0, ge=0)
    etag: str | None = Field(None, max_length=MAX_ETAG)


class SyncApi(JobData):
    """Where to begin, and how the API says where it goes on."""

    url: HttpUrl
    items_field: FieldPath | None = Field(
        None, description="Where in a page its items are, as data.items. Left out: the page itself, or its field items."
    )
    cursor_field: FieldPath | None = Field(
        None, description="Where in a page the cursor of the next one is. Left out: the Link header, rel=next, is used."
    )
    cursor_param: str = Field(
        "cursor", pattern=r"^[A-Za-z0-9._~-]{1,64}$", description="The query parameter that the cursor goes into."
    )
    max_pages: int = Field(1000, ge=1, le=10_000)
    etag: str | None = Field(
        None,
        max_length=MAX_ETAG,
        pattern=r'^(W/)?"[!#-~]*"$',
        description="The etag of an earlier run: pull nothing if it still holds.",
    )
    position: Position | None = Field(None, description="Set by the job itself from the second page on.")


def field_at(value: object, path: str) -> object:
    """What is at the dotted ``path`` in parsed JSON, None if nothing is."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def parse(response: Response) -> object:
    """The body as JSON. Raises `CallFailed`: a broken page may be whole the next time."""
    try:
        page: object = json.loads(response.body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CallFailed(f"{origin(response.url)} answered with something that is not JSON: {error}") from error
    return page


def items_of(page: object, path: str | None) -> list[Any]:
    """The items of a page; without a ``path`` a page that is neither a list nor has a list `items` is one item."""
    if path is not None:
        items = field_at(page, path)
        if not isinstance(items, list):
            raise Unrecoverable(f"the page has no list at {path!r}")
        return items
    if isinstance(page, list):
        return page
    items = field_at(page, "items")
    return items if isinstance(items, list) else [page]


def next_url(data: SyncApi, response: Response, page: object) -> str | None:
    """The address of the next page, None on the last."""
    if data.cursor_field is None:
        links = parse_header_links(response.headers.get("Link", ""))
        found = next((link["url"] for link in links if "next" in link.get("rel", "").lower().split()), None)
        return None if found is None else urljoin(response.url, found)
    cursor = field_at(page, data.cursor_field)
    if cursor is None or cursor == "" or cursor is False:
        return None
    if cursor is True or not isinstance(cursor, str | int):
        raise Unrecoverable(f"the cursor at {data.cursor_field!r} is neither text nor a number")
    parts = urlsplit(data.url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != data.cursor_param]
    return urlunsplit(parts._replace(query=urlencode([*query, (data.cursor_param, str(cursor))])))


def pull(url: str, etag: str | None, settings: JobSettings) -> Response:
    """GET one page. A redirect is not followed: it would be a request that the rate limit does not count."""
    headers = {"Accept": "application/json"}
    if (token := settings.sync_api_tokens.get(origin(url))) is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    if etag is not None:
        headers["If-None-Match"] = etag
    with outbound(settings) as client:
        response = client.get(url, headers, redirects=0)
    check_status(response)
    return response


def part_name(run: str, page: int) -> str:
    """The artifact of one page, until the run is complete."""
    return f"sync-{run}.page-{page}.jsonl"


def assemble(artifacts: ArtifactStore, run: str, pages: int) -> Artifact:
    """Join the pages of a run, one item a line, into one artifact; then remove them.

    A try that was killed after this one's work finds the pages gone and the whole there.
    """
    whole, parts = f"sync-{run}.jsonl", [part_name(run, page) for page in range(1, pages + 1)]
    missing = [name for name in parts if not artifacts.exists(name)]
    if missing and not artifacts.exists(whole):
        raise Unrecoverable(f"{missing[0]} is gone: do all workers share BACKROOM_ARTIFACTS_DIR?")
    if not missing:
        artifacts.write(whole, (artifacts.read(name) for name in parts))
    for name in parts:
        if name not in missing:
            artifacts.delete(name)
    return artifacts.find(whole)


def lines(items: list[Any]) -> Iterator[bytes]:
    """Items as JSON Lines. Half of a surrogate pair, which is no text, stays the escape that it was."""
    for item in items:
        text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
        yield text.encode(errors="backslashreplace") + b"\n"


def _result(
    at: Position,
    *,
    items: int,
    etag: str | None,
    next_id: str | None = None,
    artifact: Artifact | None = None,
    not_modified: bool = False,
    truncated: bool = False,
) -> dict[str, Any]:
    return {
        "run": at.run,
        "page": at.page,
        "items": items,
        "etag": etag,
        "next": next_id,
        "artifact": None if artifact is None else artifact.name,
        "bytes": None if artifact is None else artifact.size,
        "notModified": not_modified,
        "truncated": truncated,
    }


@job("sync-api", queue="sync", attempts=6, backoff=Exponential(5, jitter=0.5), timeout=120)
def sync_api(data: SyncApi) -> dict[str, Any]:
    """Pull a page of an HTTP API and submit the job of the next page; the last one stores all pages as one artifact.

    The queue runs under a rate limit over all workers, so the API is never asked faster than that, and Retry-After is
    obeyed (429, 503). `next` in the result is the id of the job of the next page, null at the end.
    """
    settings = get_job_settings()
    rate = Rate(max=settings.sync_rate_max, duration_ms=round(1000 * settings.sync_rate_seconds))
    require_rate(current_store(), current_job.queue, rate)
    at = data.position or Position(run=current_job.id, page=1, url=data.url)
    response = pull(at.url, data.etag if data.position is None else None, settings)
    if response.status == HTTPStatus.NOT_MODIFIED:
        log.info("nothing has changed since %s", data.etag)
        return _result(at, items=0, etag=data.etag, not_modified=True)
    page = parse(response)
    items = items_of(page, data.items_field)
    total = at.items + len(items)
    etag = at.etag if data.position is not None else response.headers.get("ETag", "")[:MAX_ETAG] or None
    artifacts = ArtifactStore.from_settings()
    with unrecoverable(TooLarge):
        artifacts.write(part_name(at.run, at.page), lines(items))
    log.info("page %d: %d items, %d so far", at.page, len(items), total)
    with unrecoverable(ValueError):  # the page leads to what is no address
        following = next_url(data, response, page)
        position = (
            None if following is None else Position(run=at.run, page=at.page + 1, url=following, items=total, etag=etag)
        )
    if position is not None and at.page < data.max_pages:
        next_id = follow_up_id(at.run, f"page-{position.page}")
        sync_api.apply_async(
            (data.model_copy(update={"position": position}),), task_id=next_id, queue=current_job.queue
        )
        return _result(at, items=total, etag=etag, next_id=next_id)
    with unrecoverable(NotFound, TooLarge):
        whole = assemble(artifacts, at.run, at.page)
    log.info("stored %s: %d items on %d pages", whole.name, total, at.page)
    return _result(at, items=total, etag=etag, artifact=whole, truncated=position is not None)
