"""An application from `create_app`, with jobs and with plain Celery tasks side by side."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from backroom import Fixed, Unrecoverable, current_job, job
from backroom.engine.app import create_app

__all__ = ["app"]

app = create_app("ours")
app.set_default()


class Order(BaseModel):
    """What the jobs work on."""

    number: int
    lines: list[str] = []


@job("pack", queue="warehouse")
def pack(data: Order) -> dict[str, Any]:
    """Packs an order."""
    return {"number": data.number, "parcels": len(data.lines), "attempt": current_job.attempt}


@job("ship", attempts=3, backoff=Fixed(0))
def ship(data: dict[str, Any]) -> dict[str, Any]:
    """Ships what was packed, at the second try."""
    if current_job.attempt == 1:
        raise ConnectionError("no lorry")
    return {**data, "shipped": True}


@job("lose")
def lose(_data: dict[str, Any]) -> None:
    """Always fails."""
    raise Unrecoverable("fell off the lorry")


@app.task(name="invoice")
def invoice(number: int, *, currency: str = "EUR") -> str:
    """A plain Celery task."""
    return f"{number} {currency}"


@app.task(name="collect")
def collect(parts: list[Any]) -> dict[str, Any]:
    """A plain Celery task for the end of a chord."""
    return {"parts": parts}


@app.task(name="moody", bind=True)
def moody(self: Any, *, tries: int) -> int:
    """A plain task that fails until it was tried so often, and knows nothing of retries."""
    if self.request.retries + 1 < tries:
        raise ValueError("not yet")
    return int(self.request.retries) + 1
