"""The job types that workers have published, as the reception desk needs them: at hand, at most a second old."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backroom.model.errors import InvalidInput
from backroom.model.job_types import JobType, check_data
from backroom.model.options import JobOptions, parse_options
from services.api.http.problems import Problem

__all__ = ["Catalogue", "KnownType"]

FRESH_SECONDS: Final = 1.0
MAX_NAMES: Final = 50
"""How many known names a refusal lists."""


@dataclass(frozen=True, slots=True)
class KnownType:
    """A job type, made ready for checking submissions."""

    name: str
    queue: str
    defaults: JobOptions
    schema: str

    @classmethod
    def of(cls, job_type: JobType) -> "KnownType":
        """The job type as published."""
        defaults = parse_options(job_type.defaults)
        return cls(job_type.name, job_type.queue, defaults, json.dumps(job_type.schema, separators=(",", ":")))

    def check(self, data: object, pointer: str) -> None:
        """Check a job's data, found at ``pointer``. Raises `InvalidInput`."""
        check_data(self.schema, data, pointer)


class Catalogue:
    """The published job types, cached in this process. Threads may share it."""

    def __init__(self, read: Callable[[], Sequence[JobType]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._types: Mapping[str, KnownType] = {}
        self._read_at = float("-inf")

    def find(self, name: str, *, pointer: str) -> KnownType:
        """The type of this name; looked up anew before it is refused.

        Raises `InvalidInput` at ``pointer`` for a name nobody offers, `Problem` (503) while no type is published at
        all, `StoreUnavailable`.
        """
        found = self._current().get(name) or self._refreshed().get(name)
        if found is not None:
            return found
        if not self._types:
            raise Problem("no-job-types", "No worker has published its job types yet: start one and try again.")
        names = sorted(self._types)
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        raise InvalidInput.at(
            pointer,
            "unknown-job-type",
            f"no worker offers the job type {name!r}; known are: {', '.join(names[:MAX_NAMES])}{more}",
        )

    def _current(self) -> Mapping[str, KnownType]:
        if self._clock() - self._read_at > FRESH_SECONDS:
            return self._refreshed()
        return self._types

    def _refreshed(self) -> Mapping[str, KnownType]:
        before, self._read_at = self._read_at, self._clock()  # the other threads go on with what there is meanwhile
        try:
            self._types = {job_type.name: KnownType.of(job_type) for job_type in self._read()}
        except BaseException:
            self._read_at = before
            raise
        return self._types
