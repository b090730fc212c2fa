"""Who did what."""

from typing import Literal

from pydantic import Field

from backroom.store.audit import AuditEntry
from backroom.store.positions import fingerprint
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import NoBody
from services.api.paging import NEXT_PAGE, next_page
from services.api.queries import PageQuery, Text
from services.api.schemas import AuditPage

__all__ = ["resource"]

resource = Resource("Audit", "Who did what, and what was refused.")


class AuditQuery(PageQuery):
    """Which entries. A parameter that is repeated means "or"; different ones mean "and"."""

    actor: tuple[Text, ...] = Field(default=(), description="The name of a key; repeat it for several.")
    action: tuple[Text, ...] = Field(default=(), description="An operationId of this document, such as pause_queue.")
    outcome: Literal["done", "refused"] | None = None

    @property
    def list_name(self) -> str:
        """Tells the list of this query from those of others, for its cursors."""
        return fingerprint([frozenset(self.actor), frozenset(self.action), self.outcome])

    def lets_pass(self, entry: AuditEntry) -> bool:
        """Whether the entry is wanted."""
        return (
            (not self.actor or entry.actor in self.actor)
            and (not self.action or entry.action in self.action)
            and self.outcome in {None, entry.outcome}
        )


@resource.operation(
    "GET",
    "/v1/audit",
    access=Access.ADMIN,
    query=AuditQuery,
    body=NoBody,
    replies={200: Reply("A page of it, newest first.", AuditPage, headers=NEXT_PAGE)},
)
def read_audit(call: Call[AuditQuery, NoBody]) -> Answer:
    """Read the audit log.

    It has every call that changes anything, every call that needs an admin, and every call that was refused for want
    of rights. What was done is there when it is answered; submissions and refusals come within a second. A page of
    a filter that few entries pass may be short, or empty, and still have a next one.
    """
    query = call.query
    page = call.backend.store.audit.page(
        limit=query.limit, cursor=query.cursor, wanted=query.lets_pass, of=query.list_name
    )
    entries = [entry.to_dict() for entry in page.entries]
    return Answer(200, {"entries": entries, "next": page.next}, headers=next_page("/v1/audit", query, page.next))
