"""Clients that hold a connection and do nothing with it, as bytes on sockets."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import cast

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deploy.http_guard import RESERVED_FILES, Cut, HttpGuard, HttpLimits, room_for
from deploy.http_server import Server
from gateway.answer import answer
from gateway.middleware import Doorway
from gateway.parts import Parts
from gateway.routing import OpenOperation, build

SHORT_S = 0.25
HEAD = b"GET /quick HTTP/1.1\r\nhost: a\r\n"
OK = b'{"ok":true}'
QUICK = HEAD + b"\r\n"
LARGE = 32 * 1024 * 1024
LATE = b'{"code":"request_timeout","detail":"The request\'s %s did not come: the limit is 0.25 s."}'


class App:
    """Answers at once, slowly, at length, or says how much came."""

    def __init__(self) -> None:
        handlers = {"quick": self.quick, "slow": self.slow, "large": self.large}
        operations = [
            OpenOperation(method="GET", path=f"/{name}", handler=handler)
            for name, handler in handlers.items()
        ]
        operations.append(OpenOperation(method="POST", path="/count", handler=self.count))
        self._doorway = Doorway(build(operations), cast("Parts", None))
        self._life = Starlette()
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serve = self._doorway if scope["type"] == "http" else self._life
        await serve(scope, receive, send)

    async def quick(self, _request: Request) -> Response:
        return answer({"ok": True})

    async def slow(self, _request: Request) -> Response:
        await self.go_on.wait()
        return answer({"ok": True})

    async def large(self, _request: Request) -> Response:
        return Response(b"x" * LARGE)

    async def count(self, request: Request) -> Response:
        try:
            return answer({"bytes": len(await request.body())})
        except ClientDisconnect:
            self.left.set()
            raise


class Caller:
    """A client's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._loop = sock, asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def read(self, until: bytes = b"") -> bytes:
        """Read until a text has come, or to the end."""
        said = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(5):
                while not (until and said.endswith(until)):
                    piece = await self._loop.sock_recv(self._sock, 65_536)
                    if not piece:
                        break
                    said += piece
        return said


class Served:
    """A server with short limits, and what it cut."""

    def __init__(self, port: int, app: App, cuts: Counter[Cut]) -> None:
        self.port, self.app, self.cuts = port, app, cuts
        self.clients = AsyncExitStack()

    async def connect(self) -> "Caller":
        sock = self.clients.enter_context(socket.socket())
        sock.setblocking(False)  # noqa: FBT003 - its only argument
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return Caller(sock)

    async def ask(self, *pieces: bytes, every_s: float = 0.0) -> bytes:
        """Send pieces as long as they are taken; give what came until the end."""
        caller = await self.connect()
        reading = asyncio.ensure_future(caller.read())
        with suppress(ConnectionError):
            for piece in pieces:
                await caller.send(piece)
                await asyncio.sleep(every_s)
                if reading.done():
                    break
        return await reading

    async def until_cut(self, why: Cut) -> None:
        async with asyncio.timeout(5):
            while not self.cuts[why]:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    *, connections: int = 100, head_s: float = SHORT_S, stall_s: float = SHORT_S
) -> AsyncIterator[Served]:
    cuts, app = Counter[Cut](), App()
    limits = HttpLimits(head_s=head_s, stall_s=stall_s, connections=connections)
    guard = HttpGuard(limits, count=lambda why: cuts.update([why]))
    bound = socket.create_server(("127.0.0.1", 0))
    server = Server(app, drain_s=1, guard=guard)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.serve_on(bound))
        while not server.started:
            await asyncio.sleep(0.005)
        served = Served(bound.getsockname()[1], app, cuts)
        try:
            async with served.clients:
                yield served
        finally:
            app.go_on.set()
            server.end()
            await task


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as lent:
        yield lent


def body_of(said: bytes) -> bytes:
    return said.partition(b"\r\n\r\n")[2]


async def test_whoever_says_nothing_is_hung_up_on(served: Served) -> None:
    said = await served.ask()

    assert said == b""
    assert served.cuts == {Cut.HEAD: 1}


async def test_half_a_head_is_408(served: Served) -> None:
    said = await served.ask(HEAD)

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in said
    assert body_of(said) == LATE % b"head"
    assert served.cuts == {Cut.HEAD: 1}


async def test_a_head_that_comes_byte_by_byte_is_408(served: Served) -> None:
    said = await served.ask(HEAD, *[b"x"] * 1_000, every_s=0.02)

    assert said.startswith(b"HTTP/1.1 408 ")


async def test_line_breaks_between_requests_keep_no_connection(served: Served) -> None:
    said = await served.ask(QUICK, *[b"\r\n"] * 1_000, every_s=0.02)

    assert body_of(said) == OK
    assert served.cuts == {Cut.HEAD: 1}


@pytest.mark.parametrize("pieces", [[], [b"x"] * 1_000], ids=["stands still", "drips"])
async def test_a_body_that_does_not_come_is_408_and_the_request_is_over(
    served: Served, pieces: list[bytes]
) -> None:
    head = b"POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n"

    said = await served.ask(head, *pieces, every_s=0.02)

    assert said.startswith(b"HTTP/1.1 408 ")
    assert body_of(said) == LATE % b"body"
    assert served.cuts == {Cut.BODY: 1}
    async with asyncio.timeout(1):
        await served.app.left.wait()


async def test_a_body_that_keeps_coming_may_take_longer() -> None:
    pieces = [b"x" * 200] * 20  # 4,000 bytes a second for 1 s
    head = b"POST /count HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4000\r\n\r\n"

    async with serving(stall_s=0.8) as served:
        said = await served.ask(head, *pieces, every_s=0.05)

    assert body_of(said) == b'{"bytes":4000}'
    assert served.cuts == {}


async def test_an_answer_that_nobody_reads_is_given_up(served: Served) -> None:
    caller = await served.connect()
    await caller.send(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")

    await served.until_cut(Cut.ANSWER)

    assert len(await caller.read()) < LARGE


async def test_an_answer_may_take_its_time(served: Served) -> None:
    caller = await served.connect()
    await caller.send(b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    await asyncio.sleep(3 * SHORT_S)  # longer than anything that is limited

    served.app.go_on.set()

    assert body_of(await caller.read()) == OK
    assert served.cuts == {}


async def test_a_connection_may_idle_between_requests(served: Served) -> None:
    caller = await served.connect()
    await caller.send(QUICK)
    await caller.read(OK)
    await asyncio.sleep(3 * SHORT_S)

    await caller.send(QUICK)

    await caller.read(OK)
    assert served.cuts == {}


async def test_idle_connections_make_room_and_busy_ones_do_not() -> None:
    async with serving(connections=2, head_s=5) as served:
        for _ in range(2):
            caller = await served.connect()
            await caller.send(QUICK)
            await caller.read(OK)
        callers = [await served.connect() for _ in range(2)]
        for caller in callers:
            await caller.send(b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        await asyncio.sleep(0.05)

        refused = await served.ask(QUICK)
        served.app.go_on.set()
        answered = [body_of(await caller.read()) for caller in callers]

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body_of(refused)) == {
        "code": "overload",
        "detail": "The gateway has as many connections as it may: the limit is 2.",
    }
    assert b"\r\nretry-after: 1\r\n" in refused
    assert answered == [OK] * 2
    assert served.cuts == {Cut.IDLE: 2, Cut.FULL: 1}


def test_files_are_left_for_what_else_the_process_opens() -> None:
    assert room_for(10) == 10
    assert 1 <= room_for(10**9) <= 10**9 - RESERVED_FILES
