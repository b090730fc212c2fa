"""Makes ``backroom://`` known to kombu and Celery.

Loaded by kombu itself wherever this package is installed: kombu imports what the entry points of the group
``kombu.serializers`` name when it is first imported, and it has no such group for transports. Celery finds the result
backend through its own entry points. So an existing Celery application moves here by changing its two URLs.
"""

from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.json import dumps, loads

__all__ = ["SERIALIZER"]

TRANSPORT_ALIASES["backroom"] = "backroom.engine.transport:Transport"

#: A second name for kombu's JSON: what an entry point of this group has to be.
SERIALIZER = (dumps, loads, "application/json", "utf-8")
