"""The base of the models that describe a job's data."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["HttpUrl", "JobData", "UserId"]


class JobData(BaseModel):
    """Data of a job: camelCase in JSON, snake_case in Python, immutable, and a misspelt field is refused."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid", frozen=True)


#: The user on whose behalf a job runs: jobs can be listed by it.
UserId = Annotated[str, Field(min_length=1, max_length=256)]

#: An address to call. Text with a pattern rather than `pydantic.HttpUrl`, so that what the JSON Schema accepts over
#: HTTP is what the worker accepts, and the address is sent on as it was given.
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+([/?#]\S*)?$", max_length=2048)]
