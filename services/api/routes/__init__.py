"""The addresses of the API: a file a resource."""

from services.api.http.operation import Operation
from services.api.routes.documents import document, resources

__all__ = ["document", "operations", "resources"]


def operations() -> list[Operation]:
    """Every operation of every resource."""
    return [operation for resource in resources() for operation in resource.operations]
