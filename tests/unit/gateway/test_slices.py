"""Work on many things lets other work in between, and is done one after the other."""

import asyncio
from collections.abc import Iterator

import pytest

from gateway.slices import SLICE, Slices

MANY = 10 * SLICE


def noting(log: list[str], name: str, number: int) -> Iterator[int]:
    for n in range(number):
        log.append(name)
        yield n


async def test_everything_is_made_in_its_order() -> None:
    assert await Slices().all(noting([], "a", MANY + 1)) == list(range(MANY + 1))
    assert await Slices().all(iter(())) == []


async def test_others_get_in_after_each_slice() -> None:
    log = list[str]()
    work = asyncio.ensure_future(Slices().all(noting(log, "many", MANY)))
    while not work.done():
        log.append("other")
        await asyncio.sleep(0)

    longest = max(map(len, "".join(name[0] for name in log).split("o")))
    assert longest == SLICE


async def test_one_request_s_work_is_done_before_the_next_one_s() -> None:
    log, slices = list[str](), Slices()

    await asyncio.gather(*(slices.all(noting(log, name, MANY)) for name in "abc"))

    assert log == [name for name in "abc" for _ in range(MANY)]


async def test_what_fails_or_is_given_up_leaves_the_turn_to_others() -> None:
    slices = Slices()
    given_up = asyncio.ensure_future(slices.all(noting([], "a", MANY)))
    await asyncio.sleep(0)
    given_up.cancel()

    with pytest.raises(ZeroDivisionError):
        await slices.all(1 // n for n in (1, 0))

    async with asyncio.timeout(5):
        assert await slices.all(iter([1])) == [1]
