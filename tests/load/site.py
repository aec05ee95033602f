"""What the rows are given: an installation, a receiver and a load generator, and how they wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.load.arithmetic import percentile
from tests.load.installation import Installation, installed, subject
from tests.load.loops import Pace
from tests.load.scale import Scale
from tests.load.workers import Arrival, Receiver, Worker, generating, receiving

SETTLE_S: Final = 0.5  # for what is written after the last delivery
WARM_UP: Final = 500
CONNECTIONS: Final = 64  # of a client that publishes by HTTP at a constant rate
_SLOWEST_PER_S: Final = 100  # deliveries; a row that is slower is given up
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What all rows of a run have in common."""

    scale: Scale
    directory: Path  # for what is handed from process to process
    stock: Pace  # bare loop of stock httpx
    ours: Pace  # bare loop of our transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """What came of events at a constant rate."""

    arrivals: list[Arrival]
    publisher_late_ms: float  # p99; it is part of the latencies


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a row works with."""

    run: Run
    here: Installation
    receiver: Receiver
    load: Worker

    async def flood(self, *app_ids: str, number: int, first: int = 0) -> int:
        """Publish so many events round the apps; gives when it began."""
        subjects = [subject(app_id) for app_id in app_ids]
        told = await self.load.ask(
            "flood",
            most_s=patience_s(number),
            nats_url=self.here.nats_url,
            subjects=subjects,
            number=number,
            first=first,
        )
        return int(told["start_ns"])

    async def wait_for(self, deliveries: int) -> int:
        """Wait until so many different deliveries came; gives the time of the last request."""
        most_s = patience_s(deliveries)
        return await self.receiver.wait_for(deliveries, most_s=most_s, check=self.here.check)

    async def warm_up(self, *app_ids: str, fan_out: int = 1) -> None:
        """Let connections be opened and plans be made before anything is measured."""
        await self.receiver.ask("reset")
        await self.flood(*app_ids, number=WARM_UP)
        await self.wait_for(WARM_UP * fan_out)
        await asyncio.sleep(SETTLE_S)
        await self.receiver.ask("reset")

    async def paced(
        self, app_id: str, *, rate: float, seconds: float, http: bool = False, keyed: bool = True
    ) -> Paced:
        """Publish at a constant rate, by NATS or by HTTP; gives what came of it.

        `keyed`: by HTTP each request has an idempotency key, as Svix's clients send them.
        """
        number = round(rate * seconds)
        await self.receiver.ask("reset")
        how: dict[str, object] = (
            {
                "url": self.here.url,
                "key": self.here.key,
                "app_id": app_id,
                "connections": CONNECTIONS,
                "keyed": keyed,
            }
            if http
            else {"nats_url": self.here.nats_url, "subject": subject(app_id)}
        )
        told = await self.load.ask(
            "http_posted" if http else "paced",
            most_s=seconds + _PATIENCE_S,
            rate=rate,
            number=number,
            **how,
        )
        await self.wait_for(number)
        arrivals = first_arrivals(await self.receiver.arrivals(self.run.directory))
        return Paced(arrivals=arrivals, publisher_late_ms=told["late_p99_ms"])


def first_arrivals(arrivals: list[Arrival]) -> list[Arrival]:
    """Leave out what came again."""
    kept = dict[tuple[int, int], Arrival]()
    for one in arrivals:
        kept.setdefault((one.number, one.endpoint), one)
    return list(kept.values())


def latency_ms(arrivals: list[Arrival], part: float) -> float:
    """Give a percentile of their latencies."""
    return percentile([one.latency_ms for one in arrivals], part)


def patience_s(number: int) -> float:
    """Say how long so many deliveries are waited for."""
    return _PATIENCE_S + number / _SLOWEST_PER_S


@asynccontextmanager
async def opened(
    run: Run, *, authority: Path | None = None, certificate: Path | None = None
) -> AsyncIterator[Site]:
    """Start everything that a row works with, and stop it.

    Args:
        run: The run.
        authority: What dispatchers and load trust instead of the system's authorities.
        certificate: Of the receiver; without one it speaks plain HTTP.
    """
    async with (
        installed(authority) as here,
        receiving(certificate) as receiver,
        generating(authority) as load,
    ):
        yield Site(run=run, here=here, receiver=receiver, load=load)
