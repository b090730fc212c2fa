"""Files that jobs make: one flat folder, shared by the workers (`BACKROOM_ARTIFACTS_DIR`).

A name is checked before it comes near a path, a file appears under its name only when it is complete, and what is no
plain file (a link that somebody put there) is not opened.
"""

import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from backroom.model.errors import InvalidInput, NotFound, TooLarge
from backroom.settings import get_settings
from services.worker.support.settings import get_job_settings

__all__ = ["ARTIFACT_NAME", "Artifact", "ArtifactStore", "Purged"]

#: No leading dot or dash, no separators of any system: a name is a file in the folder and nothing else. Long enough for
#: a job's id and a word or two around it.
ARTIFACT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,199}$"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,199}")
#: What an unfinished file is called; no artifact can have such a name.
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file."""

    name: str
    #: Size in bytes.
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Purged:
    """What a clean-up removed."""

    files: int
    #: Their size, in bytes.
    size: int
    #: Whether old files are left because the limit was reached.
    more: bool


class ArtifactStore:
    """Files by name, none larger than ``max_bytes``."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @classmethod
    def from_settings(cls) -> Self:
        """The store of this stack."""
        return cls(Path(get_settings().artifacts_dir), max_bytes=get_job_settings().artifact_max_bytes)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidInput.at(
                "", "invalid-name", f"{name!r} is no artifact: 1 to 200 of A-Z a-z 0-9 . _ ~ -, first a letter or digit"
            )
        return self._folder / name

    def write(self, name: str, content: bytes | Iterable[bytes]) -> Artifact:
        """Store ``content`` under ``name``, in place of what was there, all or nothing.

        Raises `InvalidInput` for a bad name and `TooLarge` above the limit.
        """
        path = self._path(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=_UNFINISHED, dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in self._bounded(name, content):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o640)
            Path(unfinished).replace(path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        return self.find(name)

    def _bounded(self, name: str, content: bytes | Iterable[bytes]) -> Iterator[bytes]:
        size = 0
        for chunk in (content,) if isinstance(content, bytes) else content:
            size += len(chunk)
            if size > self._max_bytes:
                raise TooLarge(f"artifact {name!r}", self._max_bytes)
            yield chunk

    def find(self, name: str) -> Artifact:
        """Size and age of an artifact. Raises `NotFound`."""
        try:
            status = self._path(name).lstat()
        except FileNotFoundError:
            raise NotFound("artifact", name) from None
        if not stat.S_ISREG(status.st_mode):
            raise NotFound("artifact", name)
        return Artifact(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def exists(self, name: str) -> bool:
        """Whether there is such an artifact."""
        try:
            self.find(name)
        except NotFound:
            return False
        return True

    def read(self, name: str) -> bytes:
        """The content of an artifact. Raises `NotFound`."""
        self.find(name)
        try:
            # O_NOFOLLOW: what became a link since is not followed.
            handle = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            raise NotFound("artifact", name) from None
        with os.fdopen(handle, "rb") as file:
            return file.read()

    def delete(self, name: str) -> None:
        """Remove an artifact. Raises `NotFound`."""
        self.find(name)
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise NotFound("artifact", name) from None

    def __iter__(self) -> Iterator[Artifact]:
        """Every artifact, in no order; one that goes away meanwhile is left out."""
        for entry in self._entries():
            if _NAME.fullmatch(entry.name):
                with suppress(NotFound):
                    yield self.find(entry.name)

    def purge(self, before: datetime, *, limit: int) -> Purged:
        """Remove up to ``limit`` files last changed ``before``, with what writers that were killed left behind."""
        files = size = 0
        for entry in self._entries():
            with suppress(FileNotFoundError):  # another worker was faster
                if not entry.is_file(follow_symlinks=False):
                    continue
                status = entry.stat(follow_symlinks=False)
                if status.st_mtime >= before.timestamp() or not (
                    entry.name.startswith(_UNFINISHED) or _NAME.fullmatch(entry.name)
                ):
                    continue
                if files == limit:
                    return Purged(files, size, more=True)
                Path(entry.path).unlink()
                files += 1
                size += status.st_size
        return Purged(files, size, more=False)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._folder) as entries:
                yield from entries
        except FileNotFoundError:
            return
