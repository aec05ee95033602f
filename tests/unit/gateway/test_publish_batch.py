import asyncio
from collections.abc import Sequence

import pytest

from gateway.batch import Gatherer, Waiting
from gateway.relay import Relay
from schema.errors import Overload


class Server:
    """Answers batches of numbers with their doubles, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.few: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def carry(self, batch: Sequence[Waiting[int, int]], /, *, few: bool = False) -> None:
        (self.few if few else self.batches).append([waiting.item for waiting in batch])
        await self.open.wait()
        if -1 in [waiting.item for waiting in batch]:
            raise ValueError("refused")
        for waiting in batch:
            waiting.resolve(waiting.item * 2)

    async def answer(self, batch: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(batch))
        await self.open.wait()
        if -1 in batch:
            raise ValueError("refused")
        return [item * 2 for item in batch]

    async def busy(self, batches: int) -> None:
        """Wait until so many batches have begun."""
        async with asyncio.timeout(5):
            while len(self.batches) < batches:
                await asyncio.sleep(0)

    def gatherer(
        self,
        *,
        most: int = 100,
        most_size: int = 100,
        waiting: int = 100,
        lanes: int = 1,
        few: int = 0,
    ) -> Gatherer[int, int]:
        return Gatherer(
            self.carry,
            few=lambda: few,
            lanes=lanes,
            least_beside=3,
            most=most,
            most_size=most_size,
            most_waiting=waiting,
            most_waiting_size=100,
        )


async def test_a_gatherer_carries_together_what_comes_while_a_batch_is_under_way() -> None:
    server = Server()
    server.open.clear()
    async with server.gatherer() as gatherer:
        first = asyncio.ensure_future(gatherer.submit(1))
        await server.busy(1)
        others = [asyncio.ensure_future(gatherer.submit(n)) for n in range(2, 10)]
        await asyncio.sleep(0)
        server.open.set()

        answers = await asyncio.gather(first, *others)

    assert answers == [2 * n for n in range(1, 10)]
    assert server.batches == [[1], list(range(2, 10))]


async def test_enough_that_wait_go_beside_a_batch_under_way_as_far_as_there_are_lanes() -> None:
    server = Server()
    server.open.clear()
    async with server.gatherer(lanes=2) as gatherer:
        waiting = [asyncio.ensure_future(gatherer.submit(1))]
        await server.busy(1)

        waiting += [asyncio.ensure_future(gatherer.submit(n)) for n in (2, 3)]
        await asyncio.sleep(0)
        waiting += [asyncio.ensure_future(gatherer.submit(n)) for n in (4,)]
        await server.busy(2)
        waiting += [asyncio.ensure_future(gatherer.submit(n)) for n in (5, 6, 7)]
        await asyncio.sleep(0)
        server.open.set()

        await asyncio.gather(*waiting)

    assert server.batches == [[1], [2, 3, 4], [5, 6, 7]]


async def test_a_few_go_at_once_beside_a_batch_until_they_are_too_many_together() -> None:
    server = Server()
    server.open.clear()
    async with server.gatherer(few=3) as gatherer:
        waiting = [asyncio.ensure_future(gatherer.submit(n)) for n in range(4)]
        await server.busy(1)
        for more in ((4,), (5, 6), (7,)):
            waiting += [asyncio.ensure_future(gatherer.submit(n)) for n in more]
            for _ in range(5):
                await asyncio.sleep(0)
        under_way = (list(server.batches), list(server.few))
        server.open.set()

        assert await asyncio.gather(*waiting) == [2 * n for n in range(8)]

    assert under_way == ([[0, 1, 2, 3]], [[4], [5, 6]])
    assert server.few[2:] == [[7]]


async def test_a_batch_is_bounded_in_number_and_size_and_one_larger_item_goes_alone() -> None:
    server = Server()
    async with server.gatherer(most=3, most_size=10) as gatherer:
        sizes = [1, 1, 1, 1, 6, 6, 50, 1]
        await asyncio.gather(*(gatherer.submit(n, size) for n, size in enumerate(sizes)))

    assert server.batches == [[0, 1, 2], [3, 4], [5], [6], [7]]


async def test_an_item_that_stands_for_many_counts_as_many() -> None:
    server = Server()
    async with server.gatherer(most=10) as gatherer:
        counts = [4, 6, 1, 25, 9, 2]
        await asyncio.gather(*(gatherer.submit(n, 1, count) for n, count in enumerate(counts)))

    assert server.batches == [[0, 1], [2], [3], [4], [5]]


async def test_what_waits_can_be_failed_with_what_is_under_way_and_others_go_on() -> None:
    server = Server()
    server.open.clear()
    async with server.gatherer() as gatherer:
        first = asyncio.ensure_future(gatherer.submit(1))
        await server.busy(1)
        waiting = [asyncio.ensure_future(gatherer.submit(n)) for n in (2, 3)]
        await asyncio.sleep(0)

        gatherer.fail_waiting(ValueError("away"))

        server.open.set()
        failed = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in failed] == [ValueError, ValueError]
        assert [await first, await gatherer.submit(4)] == [2, 8]


async def test_callers_of_other_parties_get_into_the_next_batch_beside_a_flood() -> None:
    server = Server()
    server.open.clear()
    async with server.gatherer(most=60, waiting=500) as gatherer:
        flood = [asyncio.ensure_future(gatherer.submit(n, party="flood")) for n in range(200)]
        await server.busy(1)
        few = [asyncio.ensure_future(gatherer.submit(1_000, party="few"))]
        await asyncio.sleep(0)
        server.open.set()

        await asyncio.gather(*flood, *few)

    assert [1_000 in batch for batch in server.batches] == [False, True, False, False]


async def test_a_few_of_another_party_go_at_once_beside_a_flood() -> None:
    server = Server()
    server.open.clear()
    async with server.gatherer(most=60, waiting=500, few=4) as gatherer:
        waiting = [asyncio.ensure_future(gatherer.submit(n, party="flood")) for n in range(200)]
        await server.busy(1)
        for of in ("few", "other", "late"):
            waiting += [asyncio.ensure_future(gatherer.submit(n, party=of)) for n in (500, 501)]
            for _ in range(5):
                await asyncio.sleep(0)
        under_way = list(server.few)
        server.open.set()

        await asyncio.gather(*waiting)

    assert under_way == [[500, 501], [500, 501]], "four at a time, whoever they are"


async def test_a_flood_that_fills_the_room_is_refused_alone() -> None:
    server = Server()
    server.open.clear()
    async with server.gatherer(waiting=4) as gatherer:
        waiting = [asyncio.ensure_future(gatherer.submit(0, party="flood"))]
        await server.busy(1)
        waiting += [asyncio.ensure_future(gatherer.submit(n, party="flood")) for n in range(4)]
        await asyncio.sleep(0)

        with pytest.raises(Overload):
            await gatherer.submit(9, party="flood")
        waiting += [asyncio.ensure_future(gatherer.submit(5, party="few"))]
        await asyncio.sleep(0)

        server.open.set()
        assert await asyncio.gather(*waiting) == [0, 0, 2, 4, 6, 10]


async def test_more_than_may_wait_is_refused_at_once() -> None:
    server = Server()
    server.open.clear()
    async with server.gatherer(waiting=2) as gatherer:
        waiting = [asyncio.ensure_future(gatherer.submit(0))]
        await server.busy(1)
        waiting += [asyncio.ensure_future(gatherer.submit(n)) for n in (1, 2)]
        await asyncio.sleep(0)

        with pytest.raises(Overload):
            await gatherer.submit(3)

        server.open.set()
        assert await asyncio.gather(*waiting) == [0, 2, 4]


async def test_an_error_reaches_the_callers_of_its_batch_and_the_next_batch_goes() -> None:
    server = Server()
    async with server.gatherer(most=2) as gatherer:
        answers = await asyncio.gather(
            *(gatherer.submit(n) for n in (1, -1, 2)), return_exceptions=True
        )

    assert [type(answer) for answer in answers] == [ValueError, ValueError, int]


async def test_a_caller_that_gives_up_leaves_its_item_in_the_batch() -> None:
    server = Server()
    async with server.gatherer() as gatherer:
        waiting = [asyncio.ensure_future(gatherer.submit(n)) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        waiting[1].cancel()

        answers = await asyncio.gather(waiting[0], waiting[2])

    assert answers == [2, 6]
    assert server.batches == [[1, 2, 3]]


async def test_those_who_ask_at_a_time_ask_together() -> None:
    server = Server()
    relay = Relay[int, int](most=100)

    answers = await asyncio.gather(*(relay.ask(n, server.answer) for n in range(10)))

    assert answers == [2 * n for n in range(10)]
    assert server.batches == [list(range(10))]


async def test_whoever_waits_asks_next_and_no_more_than_may_ask_together() -> None:
    server = Server()
    relay = Relay[int, int](most=4)

    answers = await asyncio.gather(*(relay.ask(n, server.answer) for n in range(10)))

    assert answers == [2 * n for n in range(10)]
    assert server.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_an_error_reaches_all_who_asked_together_and_nobody_else() -> None:
    server = Server()
    relay = Relay[int, int](most=2)

    answers = await asyncio.gather(
        *(relay.ask(n, server.answer) for n in (1, -1, 2)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [ValueError, ValueError, int]


@pytest.mark.parametrize("given_up", [[0], [1], [0, 1], [2], [0, 3]])
async def test_whoever_gives_up_leaves_nobody_without_an_answer(given_up: list[int]) -> None:
    server = Server()
    server.open.clear()
    relay = Relay[int, int](most=2)
    waiting = [asyncio.ensure_future(relay.ask(n, server.answer)) for n in range(4)]
    await server.busy(1)
    for number in given_up:
        waiting[number].cancel()
    server.open.set()

    async with asyncio.timeout(5):
        answers = await asyncio.gather(*waiting, return_exceptions=True)

    for number, answer in enumerate(answers):
        assert isinstance(answer, asyncio.CancelledError) or answer == number * 2
        assert isinstance(answer, asyncio.CancelledError) == (number in given_up)
    assert await relay.ask(21, server.answer) == 42


async def test_whoever_gives_up_before_it_could_ask_hands_over() -> None:
    server = Server()
    relay = Relay[int, int](most=10)
    waiting = [asyncio.ensure_future(relay.ask(n, server.answer)) for n in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()

    async with asyncio.timeout(5):
        answers = await asyncio.gather(*waiting[1:])

    assert answers == [2, 4]
