from gateway.costs import LEAST, MOST, Costs


def settled(costs: Costs, *, single_s: float, batch_s: float) -> int:
    """Tell how many go singly once it has always taken so long."""
    for _ in range(100):
        costs.singly(10, 10 * single_s)
        costs.batch(50, batch_s)
    return costs.few


def test_as_many_go_singly_as_take_no_longer_than_a_batch() -> None:
    assert settled(Costs(), single_s=0.0002, batch_s=0.005) == 25
    assert settled(Costs(), single_s=0.0006, batch_s=0.006) == 10


def test_some_always_go_singly_and_many_never_do() -> None:
    assert settled(Costs(), single_s=0.01, batch_s=0.005) == LEAST
    assert settled(Costs(), single_s=0.00001, batch_s=0.005) == MOST


def test_what_lone_events_and_large_batches_take_says_nothing() -> None:
    costs = Costs()
    before = costs.few

    for _ in range(100):
        costs.singly(1, 0.01)
        costs.batch(1_000, 0.05)

    assert costs.few == before
