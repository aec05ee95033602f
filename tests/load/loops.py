"""What the whole path is held against: bare loops that post the same bodies straight away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

import httpx

from deploy.ports import LOOPBACK
from dispatcher.pool import PoolLimits
from dispatcher.transport import Transport, request_head
from schema.address import AddressPolicy, check_url
from signer.tls import client_context
from tests.load.arithmetic import schedule_ns
from tests.load.payload import body

AT_A_TIME: Final = 64
STOCK_S: Final = 60.0  # its own timeout would end what waits behind a slow machine
_DEADLINE_S: Final = 60.0
_WARM_UP: Final = 10  # one in so many comes before, unmeasured
_JSON: Final = {"Content-Type": "application/json"}

Post = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a loop went, and what a request cost it."""

    per_s: float
    cpu_us: float


async def stock_pace(url: str, number: int) -> Pace:
    """Measure httpx as it comes."""
    async with httpx.AsyncClient(timeout=STOCK_S, verify=client_context()) as client:
        post = stock(client, url)
        await flat_out(post, number // _WARM_UP)
        return await flat_out(post, number)


async def our_pace(url: str, number: int) -> Pace:
    """Measure the dispatcher's transport, with nothing around it."""
    transport = bare_transport()
    try:
        post = ours(transport, url)
        await flat_out(post, number // _WARM_UP)
        return await flat_out(post, number)
    finally:
        await transport.aclose()


async def flat_out(post: Post, number: int) -> Pace:
    """Post so many bodies, `AT_A_TIME` at a time."""
    left = iter(range(number))

    async def worker() -> None:
        for n in left:
            await post(body(time.monotonic_ns(), n))

    started_s, cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(worker())
    took_s, cost_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    return Pace(per_s=number / took_s, cpu_us=cost_s / number * 1e6)


async def at_rate(send: Post, *, rate: float, number: int) -> None:
    """Send bodies at a constant rate, each stamped with when it was to be sent.

    Nothing is waited for in line, so a stall shows in all that it delays.
    """
    start_ns = time.monotonic_ns()
    async with asyncio.TaskGroup() as group:
        for n, due_ns in enumerate(schedule_ns(start_ns=start_ns, rate=rate, number=number)):
            await asyncio.sleep((due_ns - time.monotonic_ns()) / 1e9)
            group.create_task(_run(send, body(due_ns, n)))


async def _run(send: Post, content: bytes) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        await send(content)


def stock(client: httpx.AsyncClient, url: str) -> Post:
    """Post with httpx as it comes."""

    async def post(content: bytes) -> None:
        response = await client.post(url, content=content, headers=_JSON)
        assert response.is_success

    return post


def bare_transport() -> Transport:
    """Make the dispatcher's transport, with nothing around it."""
    limits = PoolLimits(per_origin=AT_A_TIME)
    return Transport(permits=lambda _: True, tls=client_context(), limits=limits)


def ours(transport: Transport, url: str) -> Post:
    """Post with the dispatcher's transport."""
    checked = check_url(url, AddressPolicy(allowed_networks=(ip_network(LOOPBACK),)))
    extensions = {
        "url": checked,
        "addresses": (LOOPBACK,),
        "deadline_s": _DEADLINE_S,
        "head": request_head(checked, [(b"Content-Type", b"application/json")]),
    }

    parsed = httpx.URL(url)

    async def post(content: bytes) -> None:
        request = httpx.Request(
            "POST", parsed, headers=[], stream=httpx.ByteStream(content), extensions=extensions
        )
        response = await transport.handle_async_request(request)
        assert response.is_success

    return post
