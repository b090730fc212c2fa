"""Job types: what the running workers offer, published by them."""

import builtins
import json
from collections.abc import Sequence

from backroom.model.job_types import JobType
from backroom.store.part import Part
from backroom.store.scripts import pack

__all__ = ["JobTypes"]


class JobTypes(Part):
    """``types`` is a hash name -> JSON; ``types:seen`` says until when each is on offer, ``types:of:`` who by."""

    def publish(self, worker: str, types: Sequence[JobType], *, ttl_seconds: int) -> None:
        """Offer job types on behalf of a worker, until ``ttl_seconds`` after the last time this is called."""
        if types:
            self._run("offer", worker, ttl_seconds, pack({each.name: _encode(each) for each in types}))

    def get(self, name: str) -> JobType | None:
        """One job type, or None when nobody offers it."""
        return next((each for each in self.list() if each.name == name), None)

    def list(self) -> builtins.list[JobType]:
        """All job types on offer, by name."""
        types = [JobType(**json.loads(text), workers=workers) for text, workers in self._run("offers")]
        return sorted(types, key=lambda each: each.name)


def _encode(each: JobType) -> str:
    view = each.to_dict()
    del view["workers"]
    return json.dumps(view, separators=(",", ":"))
