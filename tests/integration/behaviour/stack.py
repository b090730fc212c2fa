"""A running stack as its callers see it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from backroom.model.states import FINISHED
from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from tests.integration.api.service import Api
    from tests.integration.engine.stage import Stage

__all__ = ["Stack", "milliseconds"]


def milliseconds(earlier: str, later: str) -> float:
    """From one RFC 3339 time to another."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds() * 1000


class Stack:
    """Calls over HTTP; ``stage`` has the processes, and the files that jobs wait for."""

    def __init__(self, api: Api, stage: Stage) -> None:
        self.api, self.stage = api, stage

    def submit(self, name: str, data: object = None, *, queue: str = "default", **options: Any) -> dict[str, Any]:
        """Submit a job. Returns it as it was answered with 202."""
        body = {"name": name, "queue": queue, "data": {} if data is None else data, "options": options}
        answer = self.api.post("/v1/jobs", body)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        found: dict[str, Any] = self.api.get(f"/v1/jobs/{job_id}").json()
        return found

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it has ended."""
        return eventually(lambda: self.job(job_id), until=lambda job: job["state"] in FINISHED)

    def running(self, job_id: str) -> dict[str, Any]:
        """The job, once its code runs."""
        self.stage.began(job_id)
        return self.job(job_id)

    def act(self, job_id: str, action: str, body: object = None, *, status: int = 200) -> dict[str, Any]:
        """``POST /v1/jobs/{id}/{action}``."""
        answer = self.api.post(f"/v1/jobs/{job_id}/{action}", body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def counts(self, queue: str) -> dict[str, int]:
        """How many jobs a queue has in each state that has any."""
        found = self.api.get(f"/v1/queues/{queue}").json()["counts"]
        return {state: number for state, number in found.items() if number}

    def pause(self, queue: str) -> None:
        assert self.api.post(f"/v1/queues/{queue}/pause").status_code == 200

    def resume(self, queue: str) -> None:
        assert self.api.post(f"/v1/queues/{queue}/resume").status_code == 200

    def kinds(self, job_id: str) -> list[str]:
        """The types of the events of a job so far."""
        return [event.type for event in self.stage.happened(job_id)]

    def schedule(self, key: str) -> dict[str, Any]:
        """A schedule as it is now."""
        found: dict[str, Any] = self.api.get(f"/v1/schedules/{key}").json()
        return found

    def put_schedule(self, key: str, status: int = 201, **fields: Any) -> dict[str, Any]:
        """Put a schedule of `echo` jobs."""
        body = {"job": {"name": "echo", "data": {}}} | fields
        answer = self.api.call("PUT", f"/v1/schedules/{key}", json=body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found
