"""Makes load, in a process of its own.

    python -m tests.load.generator

takes jobs, one JSON object a line, until its input ends, and answers each with what it measured.
Jobs that go at a rate work off a schedule that is fixed beforehand: whatever is late is late by its
own clock, and delays nothing behind it.
"""

import asyncio
import inspect
import json
import secrets
import sys
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any, Final

import uvloop
from nats.aio.client import Client
from nats.js.api import PubAck

from tests.load.arithmetic import percentile, schedule_ns
from tests.load.http_wire import Line, connected, write_request
from tests.load.loops import at_rate, bare_transport, our_pace, ours, stock_pace
from tests.load.nats_wire import NatsWire
from tests.load.payload import EVENT_TYPE, body
from tests.load.waiting import LoadFault, reasons
from tests.services import connected as bus_connected

_FLOOD_BATCH: Final = 500
_ACK_S: Final = 30.0
_WINDOW: Final = 2_000  # publishes that are not acknowledged yet

Told = dict[str, Any]


def paced(*, nats_url: str, subject: str, rate: float, number: int, first: int = 0) -> Told:
    """Publish at a constant rate, each event by itself."""
    late_ms = []
    with NatsWire(nats_url) as wire:
        target = subject.encode()
        start_ns = time.monotonic_ns() + 1_000_000
        for place, due_ns in enumerate(schedule_ns(start_ns=start_ns, rate=rate, number=number)):
            wire.wait_until(due_ns)
            late_ms.append((time.monotonic_ns() - due_ns) / 1e6)
            wire.publish(target, body(due_ns, first + place))
        wire.settle()
    return {"start_ns": start_ns, "late_p99_ms": percentile(late_ms, 99)}


def flood(*, nats_url: str, subjects: Sequence[str], number: int, first: int = 0) -> Told:
    """Publish as fast as batches are acknowledged, round the subjects."""
    targets = [subject.encode() for subject in subjects]
    with NatsWire(nats_url) as wire:
        start_ns = time.monotonic_ns()
        for begin in range(0, number, _FLOOD_BATCH):
            numbers = range(begin, min(begin + _FLOOD_BATCH, number))
            now_ns = time.monotonic_ns()
            wire.publish_batch(
                [targets[n % len(targets)] for n in numbers],
                [body(now_ns, first + n) for n in numbers],
            )
    return {"start_ns": start_ns, "took_s": (time.monotonic_ns() - start_ns) / 1e9}


async def client_batches(*, nats_url: str, subject: str, number: int, size: int) -> Told:
    """Publish atomic batches with nats-py, one after the other."""
    async with bus_connected(nats_url) as bus:
        started_s = time.perf_counter()
        for begin in range(0, number, size):
            await _client_batch(bus, subject, range(begin, min(begin + size, number)))
        return {"per_s": number / (time.perf_counter() - started_s)}


async def _client_batch(bus: Client, subject: str, numbers: range) -> None:
    batch_id, now_ns = secrets.token_hex(8), time.monotonic_ns()
    for place, number in enumerate(numbers, 1):
        headers = {"Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(place)}
        content = body(now_ns, number)
        if place == len(numbers):
            headers["Nats-Batch-Commit"] = "1"
            answer = await bus.request(subject, content, timeout=_ACK_S, headers=headers)
            if b'"error"' in answer.data:
                raise LoadFault(answer.data.decode())
        elif place == 1:
            await bus.request(subject, content, timeout=_ACK_S, headers=headers)
        else:
            await bus.publish(subject, content, headers=headers)


async def client_pipelined(*, nats_url: str, subject: str, number: int) -> Told:
    """Publish with nats-py, each event by itself, `_WINDOW` of them outstanding at most."""
    async with bus_connected(nats_url) as bus:
        stream = bus.jetstream(publish_async_max_pending=_WINDOW)
        open_acks = set[Future[PubAck]]()
        started_s = time.perf_counter()
        for n in range(number):
            content = body(time.monotonic_ns(), n)
            ack = await stream.publish_async(subject, content, wait_stall=_ACK_S)
            open_acks.add(ack)
            ack.add_done_callback(open_acks.discard)
        while open_acks:
            done, _ = await asyncio.wait(open_acks, timeout=_ACK_S)
            if not done:
                raise LoadFault(f"{len(open_acks)} publishes were not acknowledged")
        return {"per_s": number / (time.perf_counter() - started_s)}


def _new_key() -> str:
    """Begin keys that nobody had before, in the form that Svix's clients give them."""
    return f"auto_{secrets.token_hex(8)}-"


async def http_publish(
    *,
    url: str,
    key: str,
    app_id: str,
    number: int,
    connections: int,
    each: int = 1,
    keyed: bool = False,
) -> Told:
    """Publish by HTTP on kept connections, `each` in a request: one message, or that many.

    `keyed`: each request has an idempotency key of its own, as Svix's clients send them.
    """
    path = f"/api/v1/app/{app_id}/msg" + ("/bulk" if each > 1 else "")
    left = iter(range(0, number, each))
    name = _new_key()

    async def worker(line: Line) -> None:
        for begin in left:
            content = _http_body(begin, min(begin + each, number), bulk=each > 1)
            own = f"{name}{begin}" if keyed else ""
            request = write_request(url, key, "POST", path, content, idempotency_key=own)
            answer = await line.exchange(request)
            if answer.status != 202:
                raise LoadFault(f"POST {path}: {answer.status} {answer.body[:200]!r}")

    async with connected(url, connections) as lines:
        started_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(worker(line))
        return {"per_s": number / (time.perf_counter() - started_s)}


async def http_posted(
    *,
    url: str,
    key: str,
    app_id: str,
    rate: float,
    number: int,
    connections: int,
    keyed: bool = True,
) -> Told:
    """Publish by HTTP at a constant rate, one message a request.

    `keyed`: each request has an idempotency key of its own, as Svix's clients send them.
    """
    path = f"/api/v1/app/{app_id}/msg"
    name = _new_key()
    queue = asyncio.Queue[tuple[int, int]]()
    late_ms = []

    async def worker(line: Line) -> None:
        while (order := await queue.get())[0] >= 0:
            number, due_ns = order
            content = _http_message(due_ns, number)
            own = f"{name}{number}" if keyed else ""
            request = write_request(url, key, "POST", path, content, idempotency_key=own)
            answer = await line.exchange(request)
            if answer.status != 202:
                raise LoadFault(f"POST {path}: {answer.status} {answer.body[:200]!r}")

    async with connected(url, connections) as lines, asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(worker(line))
        start_ns = time.monotonic_ns() + 1_000_000
        schedule = schedule_ns(start_ns=start_ns, rate=rate, number=number)
        for place, due_ns in enumerate(schedule):
            await asyncio.sleep((due_ns - time.monotonic_ns()) / 1e9)
            late_ms.append((time.monotonic_ns() - due_ns) / 1e6)
            queue.put_nowait((place, due_ns))
        for _ in lines:
            queue.put_nowait((-1, 0))
    return {"start_ns": start_ns, "late_p99_ms": percentile(late_ms, 99)}


def _http_message(at_ns: int, number: int) -> bytes:
    return b'{"eventType":"%b","payload":%b}' % (EVENT_TYPE.encode(), body(at_ns, number))


def _http_body(begin: int, end: int, *, bulk: bool) -> bytes:
    now_ns = time.monotonic_ns()
    messages = [_http_message(now_ns, number) for number in range(begin, end)]
    return b'{"messages":[%b]}' % b",".join(messages) if bulk else messages[0]


async def http_paced(
    *,
    url: str,
    key: str,
    paths: Sequence[str],
    rate: float,
    connections: int,
    may_be_empty: Sequence[str] = (),
) -> Told:
    """Ask for these paths at a constant rate; gives how long each took from its intended time.

    A page without rows is a fault, unless its path is one of `may_be_empty`.
    """
    requests = [write_request(url, key, "GET", path) for path in paths]
    latencies_ms = [0.0] * len(paths)
    queue = asyncio.Queue[tuple[int, int]]()

    async def worker(line: Line) -> None:
        while (order := await queue.get())[0] >= 0:
            place, due_ns = order
            answer = await line.exchange(requests[place])
            latencies_ms[place] = (time.monotonic_ns() - due_ns) / 1e6
            empty = b'"data":[]' in answer.body and paths[place] not in may_be_empty
            if answer.status != 200 or empty:
                raise LoadFault(f"GET {paths[place]}: {answer.status} {answer.body[:200]!r}")

    async with connected(url, connections) as lines, asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(worker(line))
        start_ns = time.monotonic_ns()
        schedule = schedule_ns(start_ns=start_ns, rate=rate, number=len(paths))
        for place, due_ns in enumerate(schedule):
            await asyncio.sleep((due_ns - time.monotonic_ns()) / 1e9)
            queue.put_nowait((place, due_ns))
        for _ in lines:
            queue.put_nowait((-1, 0))
    return {"latencies_ms": latencies_ms}


async def bare_stock(*, url: str, number: int) -> Told:
    """Run the bare loop of stock httpx."""
    pace = await stock_pace(url, number)
    return {"per_s": pace.per_s, "cpu_us": pace.cpu_us}


async def bare_ours(*, url: str, number: int) -> Told:
    """Run the bare loop of our transport."""
    pace = await our_pace(url, number)
    return {"per_s": pace.per_s, "cpu_us": pace.cpu_us}


async def bare_paced(*, url: str, rate: float, number: int) -> Told:
    """Post straight to the receiver at a constant rate, with our transport."""
    transport = bare_transport()
    try:
        await at_rate(ours(transport, url), rate=rate, number=number)
    finally:
        await transport.aclose()
    return {}


JOBS: Final[Sequence[Callable[..., Any]]] = (
    *(paced, flood, client_batches, client_pipelined),
    *(http_publish, http_posted, http_paced, bare_stock, bare_ours, bare_paced),
)


def main() -> None:
    """Work until whoever started us is gone."""
    jobs = {job.__name__: job for job in JOBS}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            done = jobs[order.pop("do")](**order)
            told = uvloop.run(done) if inspect.iscoroutine(done) else done
        except Exception as error:  # noqa: BLE001 - it is told to whoever asked
            told = {"fault": "; ".join(reasons(error))}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
