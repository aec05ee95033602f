"""How large a run is. Durations are seconds."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of all rows."""

    name: str
    stock_requests: int  # of the bare loop of stock httpx
    bare_requests: int  # of the bare loop of our transport
    singles: int  # events published singly by NATS
    batched: int  # events published in atomic batches, and by HTTP in bulk
    posts: int  # events published by HTTP, one a request
    events: int  # through the whole path to one endpoint
    fan_out_events: int  # to ten endpoints each
    fresh_connections: int  # deliveries by HTTPS with a new connection each
    latency_s: float
    neighbour_s: float  # of a victim beside each neighbour
    flood: int
    letters: int  # that are redelivered
    dead: int  # letters that pages are made of
    waiting: int
    punctual_s: float
    rate_s: float
    backlog: int
    idle_s: float
    attempts: int
    pages_s: float


SCALES: Final = {
    one.name: one
    for one in (
        Scale(
            name="tiny",  # does every row work? Its figures say nothing
            stock_requests=200,
            bare_requests=2_000,
            singles=500,
            batched=2_000,
            posts=500,
            events=1_000,
            fan_out_events=200,
            fresh_connections=200,
            latency_s=2,
            neighbour_s=3,
            flood=5_000,
            letters=5_000,
            dead=5_000,
            waiting=500,
            punctual_s=2,
            rate_s=3,
            backlog=5_000,
            idle_s=3,
            attempts=20_000,
            pages_s=2,
        ),
        Scale(
            name="quick",
            stock_requests=1_000,
            bare_requests=20_000,
            singles=5_000,
            batched=50_000,
            posts=10_000,
            events=20_000,
            fan_out_events=2_000,
            fresh_connections=2_000,
            latency_s=6,
            neighbour_s=8,
            flood=20_000,
            letters=10_000,
            dead=100_000,
            waiting=4_000,
            punctual_s=8,
            rate_s=8,
            backlog=100_000,
            idle_s=10,
            attempts=500_000,
            pages_s=10,
        ),
        Scale(
            name="full",
            stock_requests=3_000,
            bare_requests=100_000,
            singles=20_000,
            batched=200_000,
            posts=40_000,
            events=100_000,
            fan_out_events=10_000,
            fresh_connections=10_000,
            latency_s=30,
            neighbour_s=30,
            flood=100_000,
            letters=50_000,
            dead=100_000,
            waiting=20_000,
            punctual_s=30,
            rate_s=30,
            backlog=1_000_000,
            idle_s=30,
            attempts=5_000_000,
            pages_s=40,
        ),
    )
}
