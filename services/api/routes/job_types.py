"""What the workers offer."""

from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import NoBody, NoQuery
from services.api.schemas import JobTypeList

__all__ = ["resource"]

resource = Resource("Job types", "What workers offer, with the JSON Schema of each type's data.")


@resource.operation(
    "GET",
    "/v1/job-types",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("All of them, by name.", JobTypeList)},
)
def list_job_types(call: Call[NoQuery, NoBody]) -> Answer:
    """List the job types."""
    types = sorted(call.backend.store.job_types.list(), key=lambda job_type: job_type.name)
    return Answer(200, {"jobTypes": [one.to_dict() for one in types if call.principal.is_for_type(one.name)]})
