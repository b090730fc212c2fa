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
        """The job type as published. Raises `ValueError` for defaults that this version cannot read."""
        try:
            defaults = parse_options(job_type.defaults)
        except InvalidInput as error:  # a defect of the worker's, or a newer version of it: not of the caller's
            raise ValueError(f"the defaults of the job type {job_type.name!r} cannot be read: {error}") from None
        return cls(job_type.name, job_type.queue, defaults, json.dumps(job_type.schema, separators=(",", ":")))

    def check(self, data: object, pointer: str) -> None:
        """Check a job's data, found at ``pointer``. Raises `InvalidInput`."""
        check_data(self.schema, data, pointer)


class Catalogue:
    """The published job types, cached in this process. Threads may share it."""

    def __init__(self, read: Callable[[], Sequence[JobType]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._types: Mapping[str, JobType] = {}
        self._ready: dict[str, KnownType] = {}
        self._read_at = float("-inf")

    def find(self, name: str, *, pointer: str) -> KnownType:
        """The type of this name; looked up anew before it is refused.

        Raises `InvalidInput` at ``pointer`` for a name nobody offers, `Problem` (503) while no type is published at
        all, `StoreUnavailable`.
        """
        found = self._current().get(name) or self._refreshed().get(name)
        if found is not None:
            ready = self._ready.get(name)
            if ready is None:
                ready = self._ready[name] = KnownType.of(found)
            return ready
        if not self._types:
            raise Problem("no-job-types", "No worker has published its job types yet: start one and try again.")
        names = sorted(self._types)
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        raise InvalidInput.at(
            pointer,
            "unknown-job-type",
            f"no worker offers the job type {name!r}; known are: {', '.join(names[:MAX_NAMES])}{more}",
        )

    def _current(self) -> Mapping[str, JobType]:
        if self._clock() - self._read_at > FRESH_SECONDS:
            return self._refreshed()
        return self._types

    def _refreshed(self) -> Mapping[str, JobType]:
        before, self._read_at = self._read_at, self._clock()  # other requests go on with what there is meanwhile
        try:
            types = {job_type.name: job_type for job_type in self._read()}
        except BaseException:
            self._read_at = before
            raise
        self._types, self._ready = types, {}
        return types
