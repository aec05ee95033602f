"""What the gateway counts, and what it reads when it is asked: `GET /metrics`, for Prometheus.

Counters belong to a process; where several share a directory, `shown` gives the registry that adds
them up. The figures are of the installation, read from Postgres and NATS, and kept for a few
seconds (longer where reading them takes long), so that scrapes cost little. docs/metrics.md lists
all names. Labels are few and bounded: never an app, an endpoint or a URL.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from gateway.figures import Figure, Figures, Reader
from gateway.parts import Parts, parts
from gateway.routing import AnyOperation, OpenOperation

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
)  # fmt: skip
BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
HTTP: Final = "http"
BULK: Final = "bulk"


class Metrics:
    """The gateway's metrics in one registry."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        shown: Callable[[CollectorRegistry], CollectorRegistry] = lambda own: own,
    ) -> None:
        """Register everything.

        Args:
            registry: Holds this process's metrics.
            shown: Makes of it, at each scrape, the registry that the answer is written from.
        """
        self._registry = CollectorRegistry() if registry is None else registry
        self._shown = shown
        self._reader = Reader()
        self._count(partial(Counter, registry=self._registry))
        self._measure(partial(Histogram, registry=self._registry))

    def _count(self, counter: Callable[..., Counter]) -> None:
        self.accepted = counter(
            "hookline_accepted", "Events accepted, by the door they came in.", ["door"]
        )
        self.accepted_by_http = self.accepted.labels(HTTP)
        self.refused = counter(
            "hookline_refused",
            "Requests to publish that were refused, by the code of the answer.",
            ["code"],
        )
        self.cut = counter(
            "hookline_connections_cut", "Connections that the gateway ended, by why.", ["why"]
        )
        self.schema_faults = counter(
            "hookline_payloads_misshapen",
            "Payloads by HTTP that were not as their event type's schema says, by its mode.",
            ["mode"],
        )
        replayed = counter(
            "hookline_replayed",
            "Repeated requests that got the first one's answer, by what they do.",
            ["what"],
        )
        self.replayed_messages = replayed.labels("publish")
        self.replayed_answers = replayed.labels("other")

    def _measure(self, histogram: Callable[..., Histogram]) -> None:
        self.accept = histogram(
            "hookline_accept_seconds",
            "From a request to publish to the stream's acknowledgement.",
            buckets=LATENCY_BUCKETS_S,
        )
        self.publish = histogram(
            "hookline_publish_seconds",
            "How long a group commit to the stream took.",
            buckets=LATENCY_BUCKETS_S,
        )
        self.publish_batch = histogram(
            "hookline_publish_batch_size", "Events of a group commit.", buckets=BATCH_BUCKETS
        )

    def published(self, *, batch: int, seconds: float) -> None:
        """Count a group commit."""
        self.publish.observe(seconds)
        self.publish_batch.observe(batch)

    async def render(self, given: Parts) -> bytes:
        """Write everything in Prometheus's text format."""
        figures = await self._reader.read(given)
        read = CollectorRegistry(auto_describe=False)
        read.register(_Shown(figures))
        # Several processes' counters lie in files: merging them is work for another thread.
        counted = await asyncio.to_thread(lambda: generate_latest(self._shown(self._registry)))
        return counted + generate_latest(read)


def routes() -> list[AnyOperation]:
    """List the operations on metrics."""
    return [OpenOperation(method="GET", path="/metrics", handler=metrics)]


async def metrics(request: Request) -> Response:
    """Answer a scrape."""
    given = parts(request)
    text = await given.publisher.metrics.render(given)
    return Response(text, headers={"content-type": CONTENT_TYPE})


class _Shown(Collector):
    """Shows figures as gauges; those that could not be read are left out."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "hookline_reachable", "1 where a part answered the gateway.", labels=["part"]
        )
        for part, well in self._figures.reachable.items():
            up.add_metric([part], float(well))
        yield up
        for name, figures in groupby(self._figures.values, attrgetter("name")):
            yield _family(name, list(figures))


def _family(name: str, figures: Sequence[Figure]) -> GaugeMetricFamily:
    """Give the figures of a name, which stand together."""
    meaning = figures[0].meaning
    if not figures[0].state:
        return GaugeMetricFamily(name, meaning, value=figures[0].value)
    family = GaugeMetricFamily(name, meaning, labels=["state"])
    for figure in figures:
        family.add_metric([figure.state], figure.value)
    return family
