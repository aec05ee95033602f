"""Many values are counted as if they had been one by one."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from dispatcher.metrics import LATENCY_BUCKETS_S, observe_all

# Multiples of an eighth: their sums do not depend on the order.
values = st.one_of(st.integers(0, 320).map(lambda n: n / 8), st.sampled_from(LATENCY_BUCKETS_S[7:]))


def counted(seconds: list[float], *, together: bool) -> list[str]:
    registry = CollectorRegistry()
    histogram = Histogram("h", "h", buckets=LATENCY_BUCKETS_S, registry=registry)
    if together:
        observe_all(histogram, seconds)
    else:
        for value in seconds:
            histogram.observe(value)
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if line.startswith("h_") and "created" not in line]


@given(st.lists(values, max_size=30))
def test_many_values_observed_at_once_count_as_they_do_one_by_one(seconds: list[float]) -> None:
    assert counted(seconds, together=True) == counted(seconds, together=False)
