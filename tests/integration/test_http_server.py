"""What the server answers by itself, as bytes on a socket: JSON with a request id, always."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import httptools
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deploy.http_server import MAX_HEAD_BYTES, Server
from gateway.answer import answer
from gateway.middleware import Doorway
from gateway.parts import Parts
from gateway.routing import OpenOperation, build

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def well(_request: Request) -> Response:
    return answer({"ok": True})


class App:
    def __init__(self) -> None:
        operations = [OpenOperation(method="GET", path="/well", handler=well)]
        self._doorway = Doorway(build(operations), cast("Parts", None))
        self._life = Starlette()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serve = self._doorway if scope["type"] == "http" else self._life
        await serve(scope, receive, send)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[int]:
    bound = socket.create_server(("127.0.0.1", 0))
    server = Server(App(), drain_s=1)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve_on(bound))
        while not server.started:
            await asyncio.sleep(0.005)
        yield bound.getsockname()[1]
        server.end()
        await serving


class Said:
    """An answer, read by a parser."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.raw = b""
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.raw += body

    def on_message_complete(self) -> None:
        self.is_whole = True

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


async def say(port: int, *pieces: bytes) -> Said:
    """Send pieces, as far as they are taken, and read one answer."""
    said, loop = Said(), asyncio.get_running_loop()
    parser = httptools.HttpResponseParser(said)
    with socket.socket() as sock:
        sock.setblocking(False)  # noqa: FBT003 - its only argument
        await loop.sock_connect(sock, ("127.0.0.1", port))
        with suppress(ConnectionError):  # what was answered before can still be read
            for piece in pieces:
                await loop.sock_sendall(sock, piece)
        while not said.is_whole and (read := await loop.sock_recv(sock, 65_536)):
            parser.feed_data(read)
    said.status = parser.get_status_code()
    return said


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"GET /well HTTP/1.1\r\nno header\r\n\r\n",
        b"BREW /well HTTP/1.1\r\nhost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET http://[x HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /well HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_400(port: int, sent: bytes) -> None:
    said = await say(port, sent)

    assert (said.status, said.body["code"]) == (400, "malformed_request")
    assert said.headers["content-type"] == "application/json"
    assert said.headers["connection"] == "close"
    assert len(said.headers["x-request-id"]) == 16


@pytest.mark.parametrize(
    "head",
    [
        b"x: " + b"a" * MAX_HEAD_BYTES + b"\r\n",
        b"x: y\r\n" * (MAX_HEAD_BYTES // 2),
    ],
    ids=["one header", "many headers"],
)
async def test_a_head_that_is_too_large_is_431(port: int, head: bytes) -> None:
    said = await say(port, b"GET /well HTTP/1.1\r\nhost: a\r\n" + head + b"\r\n")

    assert (said.status, said.body["code"]) == (431, "head_too_large")
    assert str(MAX_HEAD_BYTES) in said.body["detail"]
    assert len(said.headers["x-request-id"]) == 16


async def test_a_head_without_an_end_is_431_as_soon_as_it_is_too_large(port: int) -> None:
    piece = b"a" * 32_768

    said = await say(port, b"GET /well HTTP/1.1\r\nhost: a\r\nx: ", *[piece] * 40)

    assert said.status == 431


async def test_a_head_that_is_just_small_enough_is_taken_however_it_comes(port: int) -> None:
    filling = b"a" * (MAX_HEAD_BYTES - 100)

    said = await say(port, b"GET /we", b"ll HTTP/1.1\r\nhost: a\r\nx: ", filling, b"\r\n\r\n")

    assert (said.status, said.body) == (200, {"ok": True})


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (b"GET /other", 404, "not_found"),
        (b"OPTIONS *", 404, "not_found"),
        (b"GET /%00%ff", 404, "not_found"),
        (b"POST /well", 405, "method_not_allowed"),
        (b"TRACE /well", 405, "method_not_allowed"),
        (b"GET /ingest/api/v1/source", 501, "not_implemented"),
    ],
)
async def test_what_no_operation_takes_is_json_too(
    port: int, line: bytes, status: int, code: str
) -> None:
    said = await say(port, line + b" HTTP/1.1\r\nhost: a\r\n\r\n")

    assert (said.status, said.body["code"]) == (status, code)
    assert said.headers["content-type"] == "application/json"
    assert said.headers["x-request-id"]
