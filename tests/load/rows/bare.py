"""The baselines: bare loops that post the same bodies to the same receiver, and do nothing else."""

from tests.load.loops import Pace
from tests.load.scale import Scale
from tests.load.table import Figure
from tests.load.workers import Receiver, Worker, generating, receiving


async def paces(
    receiver: Receiver, load: Worker, url: str, *, stock: int, ours: int
) -> tuple[Pace, Pace]:
    """Run both loops against a URL: stock httpx, then our transport."""
    found = []
    for job, number in (("bare_stock", stock), ("bare_ours", ours)):
        await receiver.ask("reset")
        told = await load.ask(job, most_s=600, url=url, number=number)
        found.append(Pace(per_s=told["per_s"], cpu_us=told["cpu_us"]))
    return found[0], found[1]


async def measure(scale: Scale) -> tuple[Pace, Pace]:
    """Run both loops over plain HTTP."""
    async with receiving() as receiver, generating() as load:
        return await paces(
            receiver,
            load,
            receiver.url(),
            stock=scale.stock_requests,
            ours=scale.bare_requests,
        )


def figures(stock: Pace, ours: Pace) -> list[Figure]:
    """Give the figures of the loops; stock httpx is the baseline of our transport's."""
    return [
        Figure(name="stock httpx.AsyncClient: requests", value=stock.per_s, unit="/s"),
        Figure(name="stock httpx.AsyncClient: CPU each", value=stock.cpu_us, unit="us"),
        Figure(name="our transport: requests", value=ours.per_s, unit="/s", baseline=stock.per_s),
        Figure(name="our transport: CPU each", value=ours.cpu_us, unit="us", baseline=stock.cpu_us),
    ]
