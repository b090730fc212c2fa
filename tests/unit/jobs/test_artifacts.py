from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import InvalidInput, NotFound, TooLarge
from services.worker.support.artifacts import Artifact, ArtifactStore, Purged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def store(folder: Path) -> ArtifactStore:
    return ArtifactStore(folder, max_bytes=1000)


def make_old(folder: Path, name: str, days: float) -> None:
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(folder / name, (then, then))


def test_what_was_written_is_read_back(store: ArtifactStore) -> None:
    written = store.write("report.pdf", b"content")
    assert (written.name, written.size) == ("report.pdf", 7)
    assert written.modified.tzinfo is not None
    assert store.read("report.pdf") == b"content"
    assert store.find("report.pdf") == written


def test_chunks_are_joined(store: ArtifactStore) -> None:
    assert store.write("a", (b"x" * n for n in (1, 2, 3))).size == 6


def test_a_second_write_replaces_the_first(store: ArtifactStore) -> None:
    store.write("a", b"first")
    store.write("a", b"second")
    assert store.read("a") == b"second"
    assert [artifact.name for artifact in store] == ["a"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "/etc/passwd",
        "a\\b",
        ".hidden",
        "-rf",
        "a\n",
        "a\0b",
        "a b",
        "é",
        "C:",
        "x" * 201,
        ".unfinished-1",
    ],
)
def test_a_name_that_is_no_plain_file_name_is_refused_everywhere(store: ArtifactStore, name: str) -> None:
    for call in (lambda: store.write(name, b""), lambda: store.read(name), lambda: store.find(name)):
        with pytest.raises(InvalidInput):
            call()
    with pytest.raises(InvalidInput):
        store.delete(name)


def test_the_longest_job_id_fits_into_a_name(store: ArtifactStore) -> None:
    assert store.write(f"image-{'~' * 128}.jpg", b"1").size == 1


def test_what_is_too_large_leaves_nothing_behind(store: ArtifactStore, folder: Path) -> None:
    store.write("a", b"before")
    with pytest.raises(TooLarge) as refusal:
        store.write("a", iter([b"x" * 900, b"x" * 101]))
    assert refusal.value.limit == 1000
    assert store.read("a") == b"before"
    assert os.listdir(folder) == ["a"]  # noqa: PTH208 - the names, the hidden ones too


def test_a_writer_that_fails_leaves_nothing_behind(store: ArtifactStore, folder: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write("a", failing())
    assert list(folder.iterdir()) == []


def test_what_is_not_there_is_not_found(store: ArtifactStore) -> None:
    assert not store.exists("a")
    for call in (store.read, store.find, store.delete):
        with pytest.raises(NotFound):
            call("a")


def test_a_link_is_no_artifact(store: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    store.write("a", b"1")
    (folder / "link").symlink_to(secret)
    with pytest.raises(NotFound):
        store.read("link")
    assert [artifact.name for artifact in store] == ["a"]


def test_a_write_over_a_link_replaces_the_link_and_not_its_target(
    store: ArtifactStore, folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    folder.mkdir()
    (folder / "link").symlink_to(target)
    store.write("link", b"new")
    assert target.read_text() == "untouched"
    assert store.read("link") == b"new"


def test_a_deleted_artifact_is_gone(store: ArtifactStore) -> None:
    store.write("a", b"1")
    store.delete("a")
    assert not store.exists("a")


def test_an_empty_store_has_nothing_to_list_or_purge(store: ArtifactStore) -> None:
    assert list(store) == []
    assert store.purge(datetime.now(UTC), limit=10) == Purged(0, 0, more=False)


def test_a_purge_removes_what_is_old_and_what_killed_writers_left(store: ArtifactStore, folder: Path) -> None:
    for name in ("old", "new"):
        store.write(name, b"1234")
    (folder / ".unfinished-x").write_bytes(b"12")
    (folder / ".keep").write_bytes(b"")
    for name in ("old", ".unfinished-x", ".keep"):
        make_old(folder, name, days=10)
    assert store.purge(datetime.now(UTC) - timedelta(days=5), limit=10) == Purged(2, 6, more=False)
    assert sorted(os.listdir(folder)) == [".keep", "new"]  # noqa: PTH208 - the names, the hidden ones too


def test_a_purge_stops_at_its_limit_and_says_that_there_is_more(store: ArtifactStore, folder: Path) -> None:
    for name in ("a", "b", "c"):
        store.write(name, b"1")
        make_old(folder, name, days=10)
    assert store.purge(datetime.now(UTC), limit=2) == Purged(2, 2, more=True)
    assert store.purge(datetime.now(UTC), limit=2) == Purged(1, 1, more=False)


def test_an_artifact_says_when_it_was_changed(store: ArtifactStore, folder: Path) -> None:
    store.write("a", b"1")
    os.utime(folder / "a", (0, 0))
    assert store.find("a") == Artifact("a", 1, datetime(1970, 1, 1, tzinfo=UTC))
