"""How fast Hookline is on this machine, beside bare loops that post the same bodies.

    scripts/bench [--events N] [--endpoints N] [--rate N] [--seconds N] [--json FILE]

docs/performance.md says what each row means.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import uvloop
from nats.js import JetStreamContext
from nats.js.api import PubAck

from schema.event import publish_subject
from tests.load.installation import PARTS, Installation, Receiver, installed, receiving
from tests.load.loops import Pace, at_rate, bare_transport, flat_out, ours, stock
from tests.load.receiver import BODY_BYTES, MOST_ENDPOINTS, MOST_EVENTS, body
from tests.load.table import Row, as_json, as_text
from tests.services import connected

EVENT_TYPE: Final = "bench.event"
WARM_UP: Final = 500
STOCK_REQUESTS: Final = 2_000
STOCK_S: Final = 60.0  # its own timeout would end what waits behind a slow machine
SLOWEST_PER_S: Final = 100  # deliveries; a run that is slower is given up
WINDOW: Final = 2_000  # publishes that are not acknowledged yet
ACK_S: Final = 30.0
SETTLE_S: Final = 0.5  # for what is written after the last delivery
_NS_PER_MS: Final = 1e6
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a run has: the installation, the receiver, a stream to publish on, an app."""

    given: argparse.Namespace
    here: Installation
    receiver: Receiver
    stream: JetStreamContext
    subject: str

    async def run(self) -> list[Row]:
        """Measure everything, one after the other."""
        await self._publish_all(WARM_UP)
        await self._arrived(WARM_UP * self.given.endpoints, most_s=60)
        say("bare loops")
        stock_pace, our_pace = await self._bare()
        rows = [
            _rate("bare loop of stock httpx.AsyncClient", stock_pace.per_s, stock_pace),
            _rate("bare loop of our transport", our_pace.per_s, stock_pace),
        ]
        say(f"{self.given.events:,} events through the whole path")
        rows += await self._whole_path(stock_pace)
        rows.append(
            _cost("CPU a request: bare loop of stock httpx.AsyncClient", stock_pace, stock_pace)
        )
        rows.append(_cost("CPU a request: bare loop of our transport", our_pace, stock_pace))
        say(f"latency at {self.given.rate:g} events/s")
        return rows + await self._latency()

    async def _bare(self) -> tuple[Pace, Pace]:
        async with httpx.AsyncClient(timeout=STOCK_S) as client:
            post = stock(client, self.receiver.url())
            await flat_out(post, STOCK_REQUESTS // 10)
            stock_pace = await flat_out(post, STOCK_REQUESTS)
        transport = bare_transport()
        try:
            post = ours(transport, self.receiver.url())
            await flat_out(post, STOCK_REQUESTS // 10)
            our_pace = await flat_out(post, self.given.events)
        finally:
            await transport.aclose()
        return stock_pace, our_pace

    async def _whole_path(self, stock_pace: Pace) -> list[Row]:
        events, endpoints = self.given.events, self.given.endpoints
        deliveries = events * endpoints
        await self.receiver.ask("reset")
        before_s, started_ns, started_s = self.here.cpu_s(), time.time_ns(), time.perf_counter()
        await self._publish_all(events)
        published_s = time.perf_counter() - started_s
        counts = await self._arrived(deliveries, most_s=60 + deliveries / SLOWEST_PER_S)
        took_s = (counts["last_ns"] - started_ns) / 1e9
        await asyncio.sleep(SETTLE_S)
        after_s = self.here.cpu_s()
        costs = [
            Pace(per_s=0, cpu_us=(after_s[part] - before_s[part]) / deliveries * 1e6)
            for part in PARTS
        ]
        repeats = counts["received"] - deliveries
        if repeats:
            say(f"{repeats} deliveries came twice")
        return [
            Row(name="publish by NATS, pipelined", value=events / published_s, unit="/s"),
            _rate(f"deliveries end to end, 1:{endpoints}", deliveries / took_s, stock_pace),
            *(
                _cost(f"CPU a delivery: {part}", cost, stock_pace)
                for part, cost in zip(PARTS, costs, strict=True)
            ),
            Row(
                name="peak memory of the dispatcher",
                value=self.here.peak_bytes("dispatcher") / _MIB,
                unit="MiB",
            ),
        ]

    async def _latency(self) -> list[Row]:
        """Measure publish to first byte at a constant rate; the baseline posts straight away."""
        rate, seconds = self.given.rate, self.given.seconds
        await self.receiver.ask("reset")
        async with httpx.AsyncClient(timeout=STOCK_S) as client:
            short_s = min(seconds, STOCK_REQUESTS / rate)  # it may be too slow for the rate
            sent = await at_rate(stock(client, self.receiver.url()), rate=rate, seconds=short_s)
        straight = await self._latencies_ms(sent)
        await self.receiver.ask("reset")
        sent = await at_rate(self._publish, rate=rate, seconds=seconds)
        deliveries = sent * self.given.endpoints
        await self._arrived(deliveries, most_s=60)
        path = await self._latencies_ms(deliveries)
        return [
            Row(
                name=f"publish to first byte at {rate:g}/s, {name}",
                value=_percentile(path, part),
                unit="ms",
                baseline=_percentile(straight, part),
            )
            for name, part in (("p50", 50), ("p99", 99))
        ]

    async def _latencies_ms(self, number: int) -> list[float]:
        latencies = [ns / _NS_PER_MS for ns in await self.receiver.ask("latencies")]
        assert len(latencies) == number, f"{len(latencies)} of {number} were stamped"
        return latencies

    async def _arrived(self, deliveries: int, *, most_s: float) -> dict[str, int]:
        return await self.receiver.wait_for(deliveries, most_s=most_s)

    async def _publish(self, content: bytes) -> None:
        await self.stream.publish(self.subject, content, timeout=ACK_S)

    async def _publish_all(self, events: int) -> None:
        """Publish as fast as acknowledgements come, `WINDOW` of them outstanding at most."""
        open_acks = set[Future[PubAck]]()
        for number in range(events):
            ack = await self.stream.publish_async(
                self.subject, body(time.time_ns(), number), wait_stall=ACK_S
            )
            open_acks.add(ack)
            ack.add_done_callback(open_acks.discard)
        while open_acks:
            done, _ = await asyncio.wait(open_acks, timeout=ACK_S)
            if not done:
                raise SystemExit(f"{len(open_acks)} publishes were not acknowledged")


async def measure(given: argparse.Namespace) -> list[Row]:
    """Start everything, measure, and stop everything, whatever happens."""
    say("starting an installation")
    async with (
        installed() as here,
        receiving() as receiver,
        connected(here.nats_url) as bus,
    ):
        urls = [receiver.url(number) for number in range(given.endpoints)]
        app_id = await here.register(urls)
        bench = Bench(
            given=given,
            here=here,
            receiver=receiver,
            stream=bus.jetstream(publish_async_max_pending=WINDOW),
            subject=publish_subject(app_id, EVENT_TYPE)[0],
        )
        return await bench.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench and print its table."""
    given = _parser().parse_args(arguments)
    started_s = time.perf_counter()
    try:
        rows = uvloop.run(measure(given))
    except KeyboardInterrupt:
        return 130
    took_s = time.perf_counter() - started_s
    print(f"\n{as_text(rows)}\n\n{_about(given)}; {took_s:.0f} s")
    if given.json:
        kept = {"about": _about(given), "at": time.time(), "rows": as_json(rows)}
        given.json.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


def say(word: str) -> None:
    """Tell how far it is, apart from the table."""
    print(f"bench: {word}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure this Hookline.")
    parser.add_argument("--events", type=_between(100, MOST_EVENTS), default=20_000, metavar="N")
    parser.add_argument("--endpoints", type=_between(1, MOST_ENDPOINTS), default=1, metavar="N")
    parser.add_argument(
        "--rate", type=_between(1, 2_000), default=200, metavar="N", help="events/s"
    )
    parser.add_argument("--seconds", type=_between(1, 60), default=10, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    return parser


def _between(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{least} to {most}")
        return int(text)

    return read


def _about(given: argparse.Namespace) -> str:
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {given.events:,} events of"
        f" {BODY_BYTES} bytes, {given.endpoints} endpoint(s)"
    )


def _rate(name: str, per_s: float, stock_pace: Pace) -> Row:
    return Row(name=name, value=per_s, unit="/s", baseline=stock_pace.per_s)


def _cost(name: str, pace: Pace, stock_pace: Pace) -> Row:
    return Row(name=name, value=pace.cpu_us, unit="us", baseline=stock_pace.cpu_us)


def _percentile(values: Sequence[float], part: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[part - 1]


if __name__ == "__main__":
    sys.exit(main())
