"""The bodies of submissions."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, RootModel

from backroom.model.job import MAX_USER_ID_LENGTH
from backroom.model.names import NAME_PATTERN, check_name
from backroom.model.options import JobOptions, parse_options
from backroom.model.schedule import ScheduleSpec, parse_schedule
from services.api.http.validation import Input, with_own_errors

__all__ = ["EnqueueBody", "JobBody", "JobsBody", "Name", "Options", "ScheduleBody"]

MAX_BULK = 1000

Name = Annotated[
    str,
    Field(json_schema_extra={"pattern": NAME_PATTERN}),
    AfterValidator(with_own_errors(lambda text: check_name(text, ""))),
]
#: Checked by the model, which has a word to say about options of BullMQ that mean nothing here.
Options = Annotated[JobOptions, BeforeValidator(with_own_errors(lambda raw: parse_options(raw, "")))]


class EnqueueBody(Input):
    """The quick door: a `heavy-task` job for a user."""

    user_id: Annotated[str, Field(min_length=1, max_length=MAX_USER_ID_LENGTH, description="Whom the job is for.")]
    payload: dict[str, Any] = Field(description="What the task gets, as it is.")
    options: Options = JobOptions()


class JobBody(Input):
    """A job to submit."""

    name: Name = Field(description="A published job type; GET /v1/job-types lists them.")
    data: Any = Field(description="What the job gets; checked against the schema of its type.")
    queue: Name | None = Field(default=None, description="Left out: the queue of the job type.")
    options: Options = JobOptions()


class JobsBody(Input):
    """Jobs to submit together, all or none."""

    jobs: Annotated[list[JobBody], Field(min_length=1, max_length=MAX_BULK)]


class ScheduleBody(RootModel[Annotated[ScheduleSpec, BeforeValidator(with_own_errors(parse_schedule))]]):
    """A schedule, complete: what is left out has its default."""
