"""What the dispatcher counts. Labels are few and bounded: never an app, an endpoint or a URL.

The table in docs/metrics.md is compared with this file by a test.
"""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schema.dead_letter import ErrorClass, class_of
from schema.delivery import Outcome, State
from schema.store.settle import Settlement

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The dispatcher's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything."""
        self._count(partial(Counter, registry=registry))
        self._measure(partial(Histogram, registry=registry))
        self._gauge(partial(Gauge, registry=registry, multiprocess_mode="livesum"))

    def _count(self, counter: Callable[..., Counter]) -> None:
        self.taken = counter(
            "hookline_events_taken",
            "Events read from the stream, by what came of them.",
            ["result"],
        )
        self.misshapen = counter(
            "hookline_events_misshapen",
            "Events by NATS that were not as their event type's schema says, by its mode.",
            ["mode"],
        )
        self.attempts = counter("hookline_attempts", "HTTP attempts, by verdict.", ["verdict"])
        self.deliveries = counter(
            "hookline_deliveries_settled", "Deliveries settled, by state.", ["state"]
        )
        self.refused = counter(
            "hookline_settlements_refused",
            "Settlements that no owed delivery or no lease of ours stood behind.",
        )
        self.letters = counter(
            "hookline_dead_letters", "Deliveries given up, by the class of the failure.", ["class"]
        )
        self.notices = counter(
            "hookline_operational_events", "Operational events, by what came of them.", ["result"]
        )
        self.otel = counter(
            "hookline_otel_attempts", "Attempts for collectors, by what came of them.", ["result"]
        )
        self.mails = counter(
            "hookline_alert_mails", "E-mails to apps, by what came of them.", ["result"]
        )
        self.disabled = counter(
            "hookline_endpoints_disabled", "Endpoints disabled because they failed for days."
        )
        self.tokens = counter(
            "hookline_oauth_token_requests",
            "Requests for access tokens, by what came of them.",
            ["result"],
        )
        self.nameless = counter(
            "hookline_attempts_of_no_type",
            "Attempts counted under no event type, as their app has too many.",
        )
        self.flood_rested = counter(
            "hookline_flood_rested_seconds",
            "How long the intake of many events waited for apps that published few.",
        )
        self.bypassed = counter(
            "hookline_events_bypassed",
            "Events that were taken past others that crowd their shard.",
        )
        self.transformations = counter(
            "hookline_transformations", "Runs of endpoints' code, by how they ended.", ["result"]
        )
        self.transformation_cpu = counter(
            "hookline_transformation_cpu_seconds", "CPU time that endpoints' code took."
        )
        self.missed = counter(
            "hookline_events_missed",
            "Events of the stream that the intake passed by, or took twice.",
        )
        self.stuck = counter(
            "hookline_stuck_deliveries",
            "Deliveries that were due and in no lane for no reason, and were woken.",
        )

    def _measure(self, histogram: Callable[..., Histogram]) -> None:
        seconds = partial(histogram, buckets=LATENCY_BUCKETS_S)
        self.first_attempt = seconds(
            "hookline_first_attempt_seconds",
            "From accepting an event to the start of a first attempt.",
        )
        self.lateness = seconds(
            "hookline_retry_lateness_seconds", "How long after its due time a retry began."
        )
        self.duration = seconds("hookline_attempt_seconds", "How long attempts took.")
        self.batch = histogram(
            "hookline_batch_size", "Rows per statement.", ["part"], buckets=BATCH_BUCKETS
        )

    def _gauge(self, gauge: Callable[..., Gauge]) -> None:
        self.in_flight = gauge("hookline_in_flight", "Attempts under way.")
        self.held = gauge("hookline_held_bytes", "Payload bytes in lanes.")
        self.lanes = gauge("hookline_lanes", "Lanes in memory.")
        self.failing = gauge("hookline_lanes_failing", "Lanes of endpoints that are only probed.")
        self.shards = gauge("hookline_shards_owned", "Shards owned.")
        self.tasks = gauge("hookline_tasks", "Tasks that are being done.")
        self.crowded = gauge("hookline_shards_crowded", "Shards whose apps are read past a crowd.")
        self.left_out = gauge(
            "hookline_bypass_apps_left_out",
            "Apps of crowded shards that have no room in a filter, and wait with the crowd.",
        )

    def crowds(self, *, crowded: int, left_out: int) -> None:
        """Note how many shards are crowded, and how many apps have no room in a filter."""
        self.crowded.set(crowded)
        self.left_out.set(left_out)

    def transformed(self, word: str, cpu_s: float) -> None:
        """Count a run of an endpoint's code."""
        self.transformations.labels(word).inc()
        self.transformation_cpu.inc(cpu_s)

    def began(self, firsts_s: Sequence[float], retries_s: Sequence[float]) -> None:
        """Note how long after their due times attempts began: first ones, and retries."""
        observe_all(self.first_attempt, firsts_s)
        observe_all(self.lateness, retries_s)

    def settled(self, settlements: Sequence[Settlement], *, refused: int) -> None:
        """Count a batch that was written."""
        self.batch.labels("settle").observe(len(settlements))
        for state, number in Tally(s.state for s in settlements).items():
            self.deliveries.labels(state).inc(number)
        dead = [s for s in settlements if s.state is State.DEAD]
        for kind, number in Tally(_class_of(s) for s in dead).items():
            self.letters.labels(kind).inc(number)
        tried = [s.attempt for s in settlements if s.attempt is not None]
        for verdict, number in Tally(a.verdict for a in tried).items():
            self.attempts.labels(verdict).inc(number)
        observe_all(self.duration, [attempt.outcome.duration_ms / 1000 for attempt in tried])
        if refused:
            self.refused.inc(refused)


def _class_of(dead: Settlement) -> ErrorClass:
    outcome = dead.attempt.outcome if dead.attempt is not None else Outcome()
    return class_of(dead.reason, outcome.status, outcome.fault)


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """Observe many values at the cost of one: prometheus-client has only one by one."""
    if not values:
        return
    bounds: list[float] = histogram._upper_bounds  # noqa: SLF001
    for place, number in Tally(bisect_left(bounds, value) for value in values).items():
        histogram._buckets[place].inc(number)  # noqa: SLF001
    histogram._sum.inc(sum(values))  # noqa: SLF001
