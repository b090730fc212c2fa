"""The names of the keys in Redis; the Lua scripts build the same ones (see `scripts/shared/context.lua`)."""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["PART_OF_JOB", "Keys"]

#: What stands behind a job's id in the names of its other keys: no job has an id that ends so.
PART_OF_JOB: Final = re.compile(r":(tries|logs)\Z")


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix."""

    prefix: str

    def job(self, job_id: str) -> str:
        """Hash: one job."""
        return f"{self.prefix}:job:{job_id}"

    def tries(self, job_id: str) -> str:
        """List of JSON: the attempt log of a job."""
        return f"{self.prefix}:job:{job_id}:tries"

    def logs(self, job_id: str) -> str:
        """List of JSON: the log lines of a job."""
        return f"{self.prefix}:job:{job_id}:logs"

    def queue(self, queue: str) -> str:
        """Hash: settings, limits and counters of a queue."""
        return f"{self.prefix}:queue:{queue}"

    def state(self, queue: str, state: str) -> str:
        """Sorted set of job ids: the jobs of a queue in one state."""
        return f"{self.prefix}:queue:{queue}:{state}"

    def index(self, kind: str, value: str) -> str:
        """Sorted set of job ids by creation (µs): ``kind`` is queue, name, user or tag."""
        return f"{self.prefix}:by:{kind}:{value}"

    def rates(self, queue: str, minute: int) -> str:
        """Hash: what a queue did in one minute since 1970."""
        return f"{self.prefix}:rates:{queue}:{minute}"

    def worker(self, worker: str) -> str:
        """String, JSON: what a worker said of itself; expires."""
        return f"{self.prefix}:worker:{worker}"

    def wake(self, who: str = "") -> str:
        """Sorted set with one member while somebody who sleeps has something to do.

        ``who``: workers that serve every queue (empty), that serve one by name (the queue), or all but some
        (``*`` and their kind, see `Served`); the scheduler.
        """
        return f"{self.prefix}:wake:{who}" if who else f"{self.prefix}:wake"

    def webhook(self, webhook: str) -> str:
        """Hash: an endpoint of webhooks; ``jobs``: the secrets of the jobs' own webhooks."""
        return f"{self.prefix}:webhook:{webhook}"

    def delivery(self, delivery_id: str) -> str:
        """Hash: one delivery of a webhook."""
        return f"{self.prefix}:delivery:{delivery_id}"

    def bulk(self, action_id: str) -> str:
        """Hash: a bulk action."""
        return f"{self.prefix}:bulk:{action_id}"

    def single(self, name: str) -> str:
        """A key that exists once: queues, events, metrics, workers, types, control, ..."""
        return f"{self.prefix}:{name}"
