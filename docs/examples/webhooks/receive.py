"""Receive webhooks: Python, with the library of Standard Webhooks (``pip install standardwebhooks``).

WEBHOOK_SECRET is what `backroom webhooks add` printed, or `backroom webhooks secret` for jobs' own webhooks.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen = set()  # in earnest: a table with a unique key


class Receiver(BaseHTTPRequestHandler):
    """Verifies, and answers at once; work that takes long belongs behind the answer."""

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))  # the bytes themselves, not parsed and written anew
        try:
            message = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_response(400)
        else:
            if self.headers["webhook-id"] not in seen:  # a message may come twice
                seen.add(self.headers["webhook-id"])
                print(message["type"], message["data"]["id"], message["data"]["state"], flush=True)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver).serve_forever()
