"""What the exporter tells of webhooks. No address and no endpoint is a label: there may be thousands."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric

from backroom.store import WebhookNumbers
from backroom.store.metrics import DELIVERY_BUCKETS
from monitoring.exporter import catalogue
from monitoring.exporter.catalogue import Family
from monitoring.exporter.histograms import below_each

__all__ = ["webhook_metrics"]


def webhook_metrics(numbers: WebhookNumbers) -> Iterator[Metric]:
    """The families of webhooks; each outcome and each state is there from the start, at 0."""
    yield _by_label(catalogue.WEBHOOK_ATTEMPTS, ("delivered", "failed"), numbers.attempts)
    yield _by_label(catalogue.WEBHOOK_DELIVERIES, ("delivered", "given-up", "dropped"), numbers.deliveries)
    delay = catalogue.WEBHOOK_DELAY.histogram()
    delay.add_metric([], below_each(DELIVERY_BUCKETS, [numbers.delay]), numbers.delay.sum)
    yield delay
    for family, value in (
        (catalogue.WEBHOOK_PENDING, numbers.pending),
        (catalogue.WEBHOOK_OUTBOX, numbers.outbox),
        (catalogue.WEBHOOK_OUTBOX_AGE, numbers.outbox_oldest),
    ):
        gauge = family.gauge()
        gauge.add_metric([], value)
        yield gauge
    yield _by_label(catalogue.WEBHOOK_ENDPOINTS, ("enabled", "gone", "failing", "by-hand"), numbers.endpoints)


def _by_label(family: Family, values: Sequence[str], counts: Mapping[str, int]) -> Metric:
    metric = family.counter() if family.kind == "counter" else family.gauge()
    for value in values:
        metric.add_metric([value], counts.get(value, 0))
    return metric
