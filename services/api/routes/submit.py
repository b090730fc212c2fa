"""Submitting one job."""

from typing import Final

from services.api.bodies import JobBody
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import NoQuery
from services.api.schemas import SubmittedJob
from services.api.submission import Draft, submit_one

__all__ = ["SUBMIT_HEADERS", "SUBMIT_REPLIES", "resource"]

resource = Resource("Submitting", "Jobs go in.")

SUBMIT_HEADERS: Final = {
    "Prefer": "wait=N: answer when the job has ended, at the latest after N seconds (60 at most).",
    "traceparent": "W3C Trace Context; kept with the job and handed to the worker.",
}
SUBMIT_REPLIES: Final = {
    202: Reply(
        "The job is stored.",
        SubmittedJob,
        headers={
            "Location": "The job.",
            "Retry-After": "Seconds.",
            "Preference-Applied": "wait=N, if it was asked for.",
        },
    ),
    200: Reply(
        "The jobId was in use: this is the job that has it. Or the job ended while the caller waited.",
        SubmittedJob,
        headers={"Location": "The job.", "Preference-Applied": "wait=N, if it was asked for."},
    ),
}


@resource.operation(
    "POST",
    "/v1/jobs",
    access=Access.SUBMIT,
    query=NoQuery,
    body=JobBody,
    replies=SUBMIT_REPLIES,
    headers=SUBMIT_HEADERS,
    idempotent=True,
)
def submit(call: Call[NoQuery, JobBody]) -> Answer:
    """Submit a job.

    Its data is checked against the schema that workers have published for its type, and the options of the type apply
    where the job has none of its own. The answer is sent when the job is stored, and never before.
    """
    body = call.body
    return submit_one(call, Draft(body.name, body.data, body.queue, body.options))
