import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import httpx
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.answer import AnswerReader, Bounds
from dispatcher.egress import Proxy, ProxyKind
from dispatcher.fault import DeliveryFault, FaultKind, Phases
from dispatcher.pool import PoolLimits
from dispatcher.transport import Transport, request_head
from schema.address import AddressPolicy, EndpointUrl, check_url
from signer.tls import client_context
from tests.proxies import TunnelProxy
from tests.receiver import (
    HOST,
    Authority,
    Behaviour,
    Received,
    Receiver,
    Writer,
    answer,
    bare_server,
    close_without_answer,
    delayed,
    drip,
    hang,
    make_authority,
    raw,
    reset,
    reset_stream,
    sequence,
)

POLICY = AddressPolicy(allowed_networks=(ip_network("127.0.0.0/8"),))
SYSTEM_TLS = client_context()  # reads a file of authorities; once is enough
NAME = "hooks.example.com"
OK = b"HTTP/1.1 200 OK\r\n"
SHORT_S = 0.4  # a deadline that is meant to pass
LONG_S = 20.0  # one that is not

Test = Callable[..., Coroutine[Any, Any, None]]
WAY: ContextVar[ProxyKind | None] = ContextVar("WAY", default=None)  # None: straight


@dataclass(frozen=True, slots=True)
class Variant:
    """A loop, and the way out."""

    new_loop: Callable[[], asyncio.AbstractEventLoop]
    way: ProxyKind | None

    def __str__(self) -> str:
        loop = "uvloop" if self.new_loop is uvloop.new_event_loop else "asyncio"
        return loop if self.way is None else f"{loop}-{self.way.name.lower()}"


STRAIGHT = (Variant(asyncio.new_event_loop, None), Variant(uvloop.new_event_loop, None))
PROXIED = tuple(Variant(uvloop.new_event_loop, kind) for kind in ProxyKind)


def on(*variants: Variant) -> Callable[[Test], Callable[..., None]]:
    """Run a claim once for each of these."""

    def decorate(test: Test) -> Callable[..., None]:
        def run(variant: Variant, **arguments: Any) -> None:
            WAY.set(variant.way)
            with asyncio.Runner(loop_factory=variant.new_loop) as runner:
                runner.run(test(**arguments))

        names = ["variant", *signature(test).parameters]
        run.__signature__ = Signature([Parameter(n, Parameter.KEYWORD_ONLY) for n in names])  # type: ignore[attr-defined]
        run.__name__ = test.__name__
        run.pytestmark = getattr(test, "pytestmark", [])  # type: ignore[attr-defined]
        return pytest.mark.parametrize("variant", variants, ids=str)(run)

    return decorate


# Straight on asyncio's own loop and on uvloop, which the dispatcher uses, and by way of each kind
# of egress proxy: the same claims hold for all.
on_each_loop = on(*STRAIGHT)
in_each_way = on(*STRAIGHT, *PROXIED)


@asynccontextmanager
async def a_way_out() -> AsyncIterator[Proxy | None]:
    """Open the egress proxy of the claim that runs, if it has one."""
    kind = WAY.get()
    if kind is None:
        yield None
        return
    async with TunnelProxy(kind) as proxy:
        yield proxy.proxy
        assert not [host for host, _ in proxy.asked if not host.startswith("127.")]


@asynccontextmanager
async def a_transport(
    *,
    authority: Authority | None = None,
    permits: Callable[[str], bool] = lambda _: True,
    limits: PoolLimits | None = None,
) -> AsyncIterator[Transport]:
    tls = authority.client_context() if authority else SYSTEM_TLS
    async with a_way_out() as proxy:
        transport = Transport(permits=permits, tls=tls, limits=limits, proxy=proxy)
        try:
            yield transport
        finally:
            await transport.aclose()


@asynccontextmanager
async def a_pair(
    behaviour: Behaviour | None = None, *, limits: PoolLimits | None = None
) -> AsyncIterator[tuple[Receiver, Transport]]:
    async with Receiver() as receiver, a_transport(limits=limits) as transport:
        if behaviour:
            receiver.script("/", behaviour)
        yield receiver, transport


def a_url(port: int, target: str = "/hook", *, scheme: str = "http") -> EndpointUrl:
    return check_url(f"{scheme}://{NAME}:{port}{target}", POLICY)


def a_request(
    url: EndpointUrl,
    *,
    body: bytes = b'{"a":1}',
    headers: Iterable[tuple[bytes, bytes]] = (),
    addresses: tuple[str, ...] = (HOST,),
    deadline_s: float = LONG_S,
    **extensions: object,
) -> httpx.Request:
    return httpx.Request(
        "POST",
        url.text,
        headers=list(headers),
        stream=httpx.ByteStream(body),
        extensions={
            "url": url,
            "addresses": addresses,
            "deadline_s": deadline_s,
            **extensions,
        },
    )


async def post(transport: Transport, port: int, **options: Any) -> httpx.Response:
    scheme = options.pop("scheme", "http")
    url = a_url(port, options.pop("target", "/hook"), scheme=scheme)
    return await transport.handle_async_request(a_request(url, **options))


async def fault_of(transport: Transport, port: int, **options: Any) -> DeliveryFault:
    with pytest.raises(DeliveryFault) as fault:
        await post(transport, port, **options)
    return fault.value


# What is sent


@in_each_way
async def test_a_request_arrives_as_it_was_given() -> None:
    async with a_pair() as (receiver, transport):
        body = b'{ "a" : 1.0, "a": "\xc3\xa9" }\n'

        await post(
            transport,
            receiver.port,
            target="/Hook;v=1?b=%7e&c",
            body=body,
            headers=[(b"webhook-id", b"msg_1"), (b"X-Mixed-Case", b"\xe9 latin"), (b"Empty", b"")],
        )

        [received] = receiver.requests
        assert (received.method, received.target) == ("POST", "/Hook;v=1?b=%7e&c")
        assert received.body == body
        assert received.headers == [
            ("host", f"{NAME}:{receiver.port}"),
            ("accept-encoding", "identity"),
            ("webhook-id", "msg_1"),
            ("x-mixed-case", "\xe9 latin"),
            ("empty", ""),
            ("content-length", str(len(body))),
        ]


@in_each_way
async def test_a_head_that_is_kept_for_an_endpoint_goes_before_the_headers_of_the_attempt() -> None:
    async with a_pair() as (receiver, transport):
        url = a_url(receiver.port)
        head = request_head(url, [(b"User-Agent", b"Hookline"), (b"Host", b"elsewhere")])

        for n in (b"1", b"2"):
            headers = [(b"webhook-timestamp", n)]
            await transport.handle_async_request(a_request(url, headers=headers, head=head))

        first, second = receiver.requests
        assert [name for name, _ in first.headers] == [
            "host",
            "accept-encoding",
            "user-agent",
            "webhook-timestamp",
            "content-length",
        ]
        assert first.header("host") == f"{NAME}:{receiver.port}"
        assert second.header("webhook-timestamp") == "2"


@in_each_way
async def test_headers_that_frame_the_request_cannot_be_set_from_outside() -> None:
    async with a_pair() as (receiver, transport):
        url = a_url(receiver.port)
        request = httpx.Request(
            "POST",
            url.text,
            headers={
                "Host": "elsewhere",
                "Content-Length": "999",
                "Transfer-Encoding": "chunked",
                "Connection": "close",
                "Accept-Encoding": "gzip",
            },
            content=b"{}",
            extensions={"url": url, "addresses": (HOST,), "deadline_s": LONG_S},
        )

        response = await transport.handle_async_request(request)

        assert response.status_code == 200
        assert receiver.requests[0].headers == [
            ("host", f"{NAME}:{receiver.port}"),
            ("accept-encoding", "identity"),
            ("content-length", "2"),
        ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X", b"a\r\nEvil: 1"),
        (b"X", b"a\nEvil: 1"),
        (b"X", b"a\rb"),
        (b"X", b"a\x00b"),
        (b"X", b"a\x7fb"),
        (b"X\r\nEvil", b"1"),
        (b"X Y", b"1"),
        (b"X:", b"1"),
        (b"", b"1"),
        (b"caf\xe9", b"1"),
    ],
)
@in_each_way
async def test_a_header_that_would_break_the_request_is_never_sent(
    name: bytes, value: bytes
) -> None:
    async with a_pair() as (receiver, transport):
        url = a_url(receiver.port)

        kept: dict[str, Any] = {"head": request_head(url, [])}
        for extensions in ({}, kept):
            with pytest.raises(httpx.LocalProtocolError):
                await transport.handle_async_request(
                    a_request(url, headers=[(name, value)], **extensions)
                )
        with pytest.raises(httpx.LocalProtocolError):
            request_head(url, [(name, value)])
        with pytest.raises(httpx.LocalProtocolError):
            request_head(url, [], method="GET / HTTP/1.1\r\nX:")

        assert receiver.connections == 0


@in_each_way
async def test_a_large_body_arrives_whole() -> None:
    async with a_pair() as (receiver, transport):
        body = bytes(range(256)) * 20_000

        response = await post(transport, receiver.port, body=body)

        assert response.status_code == 200
        assert receiver.requests[0].body == body


@in_each_way
async def test_no_task_is_made_for_a_request() -> None:
    async with a_pair() as (receiver, transport):
        await post(transport, receiver.port)
        seen: list[int] = []

        async def count(_: Received, writer: Writer) -> None:
            seen.append(len(asyncio.all_tasks()))
            await writer.answer()

        before = len(asyncio.all_tasks())
        receiver.script("/", count)
        await post(transport, receiver.port)

        assert seen == [before]


# What comes back


@in_each_way
async def test_an_answer_comes_back_as_it_was_sent() -> None:
    reply = OK + b"X-One: 1\r\nx-one: 2\r\nContent-Length: 5\r\n\r\nhello"
    async with a_pair(raw(reply)) as (receiver, transport):
        response = await post(transport, receiver.port, dns_s=0.25)

        assert response.status_code == 200
        assert response.headers.raw == [
            (b"X-One", b"1"),
            (b"x-one", b"2"),
            (b"Content-Length", b"5"),
        ]
        assert response.extensions["body"] == await response.aread() == b"hello"
        assert response.extensions["address"] == HOST
        assert (response.extensions["reused"], response.extensions["tls"]) == (False, None)
        assert response.extensions["truncated"] is False
        phases = response.extensions["phases"]
        assert phases.dns_s == 0.25
        assert phases.tls_s is None
        assert min(phases.connect_s, phases.first_byte_s, phases.body_s) >= 0.0


@in_each_way
async def test_phases_tell_where_the_time_went() -> None:
    async def slow(_: Received, writer: Writer) -> None:
        await asyncio.sleep(0.2)
        await writer.send(OK + b"Content-Length: 2\r\n\r\n")
        await asyncio.sleep(0.1)
        await writer.send(b"ok")

    async with a_pair(slow) as (receiver, transport):
        response = await post(transport, receiver.port)

        phases: Phases = response.extensions["phases"]
        assert phases.first_byte_s is not None
        assert phases.body_s is not None
        assert 0.15 < phases.first_byte_s < 5.0
        assert 0.05 < phases.body_s < 5.0


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (CHUNKED + b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\nTrailer: x\r\n\r\n", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 8 + OK + b"Content-Length: 0\r\n\r\n", b""),
        (OK + b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)
@in_each_way
async def test_a_well_formed_answer_is_read_in_any_framing_and_the_connection_kept(
    reply: bytes, body: bytes
) -> None:
    async with a_pair(raw(reply)) as (receiver, transport):
        for _ in range(2):
            response = await post(transport, receiver.port)

            assert (response.status_code, response.extensions["body"]) == (200, body)
            assert not response.extensions["truncated"]
            assert not {"link", "trailer"} & set(response.headers)
        assert receiver.connections == 1


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (OK + b"\r\nuntil the end", b"until the end"),
        (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)
@in_each_way
async def test_an_answer_that_ends_its_connection_is_read_and_the_connection_not_kept(
    reply: bytes, body: bytes
) -> None:
    async with a_pair(raw(reply, close=True)) as (receiver, transport):
        response = await post(transport, receiver.port)

        assert response.extensions["body"] == body
        assert not response.extensions["truncated"]
        assert repr(transport).endswith("0 idle]>")
        await receiver.wait_for_connections(n=0)


@pytest.mark.parametrize("status", [204, 304])
@in_each_way
async def test_a_body_where_there_can_be_none_is_ignored_and_the_connection_not_kept(
    status: int,
) -> None:
    reply = f"HTTP/1.1 {status} None\r\nContent-Length: 5\r\n\r\nhello".encode()
    async with a_pair(raw(reply)) as (receiver, transport):
        response = await post(transport, receiver.port)

        assert (response.status_code, response.extensions["body"]) == (status, b"")
        await receiver.wait_for_connections(n=0)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (301, {"Location": "/other"}),
        (302, {"Location": "http://169.254.169.254/latest/"}),
        (303, {"Location": "file:///etc/passwd"}),
        (307, {"Location": "/other"}),
        (308, {"Location": "/other"}),
        (401, {"WWW-Authenticate": "Negotiate"}),
        (407, {"Proxy-Authenticate": "Basic"}),
        (200, {"Alt-Svc": 'h3="127.0.0.1:443"', "Refresh": "0; url=/other", "Set-Cookie": "a=b"}),
        (429, {"Retry-After": "99999999999"}),
    ],
)
@in_each_way
async def test_nothing_in_an_answer_is_followed_or_obeyed(
    status: int, headers: dict[str, str]
) -> None:
    async with a_pair(answer(status, headers)) as (receiver, transport):
        for _ in range(2):
            response = await post(transport, receiver.port)
            assert response.status_code == status
            assert {name: response.headers[name] for name in headers} == headers

        first, second = receiver.requests
        assert first.headers == second.headers
        assert (first.path, second.path, receiver.connections) == ("/hook", "/hook", 1)


@in_each_way
async def test_an_encoded_body_is_handed_over_as_it_came() -> None:
    async with a_pair(answer(200, {"Content-Encoding": "gzip, br"}, b"\x1f\x8b bomb")) as pair:
        receiver, transport = pair

        response = await post(transport, receiver.port)

        assert response.extensions["body"] == b"\x1f\x8b bomb"


@in_each_way
async def test_an_answer_before_the_body_was_read_counts_and_stops_the_sending() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async with bare_server(refuse) as port, a_transport() as transport:
        response = await post(transport, port, body=b"x" * 50_000_000)

        assert response.status_code == 413
        assert repr(transport).endswith("0 idle]>")


# What is cut short


def endless(start: bytes, piece: bytes) -> Behaviour:
    """Send until the peer is gone."""

    async def behave(_: Received, writer: Writer) -> None:
        await writer.send(start)
        while await writer.send(piece):
            pass

    return behave


@pytest.mark.parametrize(
    "behaviour",
    [
        endless(OK + b"Content-Length: 10000000000\r\n\r\n", b"x" * 65536),
        endless(OK + b"\r\n", b"x" * 65536),
        endless(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        endless(CHUNKED + b"1;", b"e" * 65536),
        endless(CHUNKED, b"1\r\nx\r\n" * 1000),
        endless(CHUNKED + b"0\r\n", b"Trailer: " + b"x" * 1000 + b"\r\n"),
    ],
    ids=["length", "until-end", "chunked", "chunk-extension", "tiny-chunks", "trailers"],
)
@in_each_way
async def test_a_body_without_an_end_is_cut_and_the_status_counts(behaviour: Behaviour) -> None:
    async with a_pair(behaviour) as (receiver, transport):
        response = await post(transport, receiver.port)

        assert response.status_code == 200
        assert response.extensions["truncated"]
        assert len(response.extensions["body"]) <= 65536
        await receiver.wait_for_connections(n=0)


@in_each_way
async def test_a_body_of_exactly_the_bound_is_whole() -> None:
    async with a_pair(answer(200, body=b"x" * 65536)) as (receiver, transport):
        response = await post(transport, receiver.port)

        assert len(response.extensions["body"]) == 65536
        assert not response.extensions["truncated"]


@pytest.mark.parametrize(
    "reply",
    [OK + b"Content-Length: 10\r\n\r\nhello", CHUNKED + b"5\r\nhello\r\n", CHUNKED + b"9\r\nhello"],
)
@in_each_way
async def test_a_body_that_is_shorter_than_promised_leaves_the_status_valid(reply: bytes) -> None:
    async with a_pair(raw(reply, close=True)) as (receiver, transport):
        response = await post(transport, receiver.port)

        assert (response.status_code, response.extensions["body"]) == (200, b"hello")
        assert response.extensions["truncated"]
        assert repr(transport).endswith("0 idle]>")


@in_each_way
async def test_a_body_that_is_broken_off_with_a_reset_leaves_the_status_valid() -> None:
    async def behave(_: Received, writer: Writer) -> None:
        await writer.send(OK + b"\r\nhello")
        await asyncio.sleep(0.1)  # a reset overtakes what was not read
        writer.reset()

    async with a_pair(behave) as (receiver, transport):
        response = await post(transport, receiver.port)

        assert (response.status_code, response.extensions["body"]) == (200, b"hello")
        assert response.extensions["truncated"]


# What is refused


NO_ANSWER: dict[str, tuple[FaultKind, bytes]] = {
    "markup": ("protocol", b"<html>hello</html>"),
    "blank lines": ("protocol", b"\r\n\r\nhello"),
    "another protocol": ("protocol", b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP/2": ("protocol", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "RTSP": ("protocol", b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "status 000": ("protocol", b"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n"),
    "status 99": ("protocol", b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n"),
    "status 2000": ("protocol", b"HTTP/1.1 2000 High\r\nContent-Length: 0\r\n\r\n"),
    "no status": ("protocol", b"HTTP/1.1 OK\r\n\r\n"),
    "two lengths": ("protocol", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    "length and chunked": (
        "protocol",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    ),
    "chunked and length": (
        "protocol",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    ),
    "list of lengths": ("protocol", OK + b"Content-Length: 2, 2\r\n\r\nok"),
    "negative length": ("protocol", OK + b"Content-Length: -1\r\n\r\n"),
    "huge length": ("protocol", OK + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "space before the colon": ("protocol", OK + b"Content-Length : 2\r\n\r\nok"),
    "folded header": ("protocol", OK + b"A: b\r\n folded\r\nContent-Length: 0\r\n\r\n"),
    "NUL in a header": ("protocol", OK + b"A: b\x00c\r\nContent-Length: 0\r\n\r\n"),
    "bare line feeds": ("protocol", OK + b"A: b\nContent-Length: 0\n\n"),
    "bad chunk size": ("protocol", CHUNKED + b"zz\r\nok\r\n0\r\n\r\n"),
    "huge chunk size": ("protocol", CHUNKED + b"FFFFFFFFFFFFFFFFFF\r\nok\r\n"),
    "upgrade": ("protocol", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "bare upgrade": ("protocol", b"HTTP/1.1 101 Switching\r\n\r\n"),
    "nine interims": (
        "protocol",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 9 + OK + b"Content-Length: 0\r\n\r\n",
    ),
    "interim of 1 MB": (
        "too_large",
        b"HTTP/1.1 103 Hints\r\n" + b"Link: </style.css>\r\n" * 50_000 + b"\r\n",
    ),
    "header of 10 MB": ("too_large", OK + b"A: " + b"x" * 10_000_000 + b"\r\n\r\n"),
    "100,000 headers": ("too_large", OK + b"A: b\r\n" * 100_000 + b"\r\n"),
    "129 headers": ("too_large", OK + b"A: b\r\n" * 129 + b"Content-Length: 0\r\n\r\n"),
    "header of 66 kB": (
        "too_large",
        OK + b"A: " + b"x" * 66_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ),
    "reason of 1 MB": (
        "too_large",
        b"HTTP/1.1 200 " + b"O" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ),
}


@pytest.mark.parametrize(("kind", "reply"), NO_ANSWER.values(), ids=NO_ANSWER)
@in_each_way
async def test_what_is_not_an_answer_is_a_fault_and_ends_the_connection(
    kind: FaultKind, reply: bytes
) -> None:
    async with a_pair(raw(reply)) as (receiver, transport):
        fault = await fault_of(transport, receiver.port)

        assert fault.kind == kind
        assert fault.address == HOST
        assert HOST not in fault.detail
        await receiver.wait_for_connections(n=0)
        assert len(receiver.requests) == 1


@in_each_way
async def test_a_head_of_exactly_the_bound_is_read() -> None:
    reply = OK + b"A: b\r\n" * 127 + b"Content-Length: 0\r\n\r\n"
    async with a_pair(raw(reply)) as (receiver, transport):
        response = await post(transport, receiver.port)

        assert len(response.headers.raw) == 128


@pytest.mark.parametrize("reply", [b"H", b"HTTP/1.1 200 OK", OK + b"Content-Le"])
@in_each_way
async def test_an_answer_that_is_closed_inside_its_head_is_a_protocol_fault(reply: bytes) -> None:
    async with a_pair(raw(reply, close=True)) as (receiver, transport):
        fault = await fault_of(transport, receiver.port)

        assert (fault.kind, fault.detail) == ("protocol", "closed inside the answer's head")


@given(
    st.sampled_from(
        [
            b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"A: b\r\nContent-Length: 5\r\n\r\nhello",
            CHUNKED + b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\nTrailer: x\r\n\r\n",
        ]
    ),
    st.lists(st.integers(min_value=1, max_value=120), max_size=6),
)
def test_an_answer_reads_the_same_however_it_is_cut(reply: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(reply), *(cut for cut in cuts if cut < len(reply))})
    whole, pieces = AnswerReader(Bounds()), AnswerReader(Bounds())

    assert whole.feed(reply)
    done = [pieces.feed(reply[a:b]) for a, b in pairwise(edges)]

    assert done == [False] * (len(done) - 1) + [True]
    assert pieces.answer() == whole.answer()
    assert whole.answer().body == b"hello"


ANSWERS = (
    OK + b"Date: 1\r\nContent-Length: 5\r\n\r\nhello",
    OK + b"Date: 2\r\nContent-Length: 5\r\n\r\nhello",
    CHUNKED + b"2\r\nhe\r\n0\r\n\r\n",
    b"HTTP/1.1 102 Wait\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\n" + b"x" * 5,
    OK + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000,
)


@given(
    st.lists(
        st.tuples(st.sampled_from(ANSWERS), st.integers(min_value=1, max_value=6000)), max_size=12
    )
)
def test_an_answer_reads_the_same_whatever_was_read_over_its_connection_before(
    answers: list[tuple[bytes, int]],
) -> None:
    kept = AnswerReader(Bounds())

    for reply, cut in answers:
        fresh = AnswerReader(Bounds())
        assert fresh.feed(reply)
        kept.begin()
        done = [kept.feed(piece) for piece in (reply[:cut], reply[cut:]) if piece]

        assert done[-1]
        assert kept.answer() == fresh.answer()


@in_each_way
async def test_an_answer_that_repeats_the_last_one_and_goes_on_ends_its_connection() -> None:
    reply = OK + b"Content-Length: 0\r\n\r\n"
    async with a_pair(sequence(raw(reply), raw(reply + b"HTTP"), raw(reply))) as pair:
        receiver, transport = pair

        for _ in range(3):
            response = await post(transport, receiver.port)
            assert response.status_code == 200

        assert [received.connection for received in receiver.requests] == [1, 1, 2]


# Peers that break off


# The one difference between the ways: a CONNECT proxy has no word for why it did not get through.
REFUSED: dict[ProxyKind | None, tuple[FaultKind, str]] = {
    None: ("connect_refused", "nobody listens on the port"),
    ProxyKind.CONNECT: ("connect", "the egress proxy did not open a connection (502)"),
    ProxyKind.SOCKS5: ("connect_refused", "nobody listens on the port, says the egress proxy"),
}


@in_each_way
async def test_a_closed_port_is_refused_at_once_as_far_as_the_way_out_can_tell() -> None:
    async with Receiver() as receiver:
        port = receiver.port
    async with a_transport() as transport:
        fault = await fault_of(transport, port)

        assert (fault.kind, fault.detail) == REFUSED[WAY.get()]
        assert fault.address == HOST
        assert fault.phases == Phases()


@in_each_way
async def test_a_reset_instead_of_an_answer_is_a_reset() -> None:
    async with a_pair(reset()) as (receiver, transport):
        fault = await fault_of(transport, receiver.port)

        assert fault.kind == "reset"
        assert fault.phases.connect_s is not None
        assert fault.phases.first_byte_s is None


@in_each_way
async def test_a_connection_that_is_closed_right_after_it_was_accepted_is_a_fault() -> None:
    async def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset_stream(writer)

    async with bare_server(slam) as port, a_transport() as transport:
        fault = await fault_of(transport, port)

        assert fault.kind == "reset"


@pytest.mark.parametrize("half", [True, False])
@in_each_way
async def test_a_close_without_an_answer_is_no_response(*, half: bool) -> None:
    async def behave(_: Received, writer: Writer) -> None:
        if half:
            writer.half_close()
        else:
            writer.close()

    async with a_pair(behave) as (receiver, transport):
        fault = await fault_of(transport, receiver.port)

        assert fault.kind == "no_response"
        await receiver.wait_for_connections(n=0)


@in_each_way
async def test_a_reset_on_every_second_request_leaves_the_others_answered() -> None:
    good = answer(200, {"Connection": "close"})
    async with a_pair(sequence(good, reset(), good, reset())) as (receiver, transport):
        for _ in range(2):
            response = await post(transport, receiver.port)
            fault = await fault_of(transport, receiver.port)

            assert (response.status_code, fault.kind) == (200, "reset")


# Addresses


@asynccontextmanager
async def black_holes(port: int, *addresses: str) -> AsyncIterator[None]:
    """Listen at `addresses` so that a connection neither opens nor fails: the queue is full."""
    with ExitStack() as stack:
        for address in addresses:
            hole = stack.enter_context(socket.socket())
            hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            hole.bind((address, port))
            hole.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.settimeout(0.0)
                filler.connect_ex((address, port))
        yield


@in_each_way
async def test_addresses_that_do_not_answer_share_the_time_and_the_last_is_still_tried() -> None:
    dead = tuple(f"127.0.0.{n}" for n in range(11, 18))
    async with a_pair() as (receiver, transport), black_holes(receiver.port, *dead):
        response = await post(transport, receiver.port, addresses=(*dead, HOST), deadline_s=1.6)

        assert response.status_code == 200
        assert response.extensions["address"] == HOST


@in_each_way
async def test_when_no_address_answers_the_deadline_ends_it() -> None:
    dead = ("127.0.0.11", "127.0.0.12")
    async with a_pair() as (receiver, transport), black_holes(receiver.port, *dead):
        loop = asyncio.get_running_loop()
        began_at = loop.time()

        fault = await fault_of(transport, receiver.port, addresses=dead, deadline_s=SHORT_S)

        assert (fault.kind, fault.address) == ("timeout", "127.0.0.12")
        assert SHORT_S * 0.9 < loop.time() - began_at < SHORT_S + 2.0


@in_each_way
async def test_an_address_that_refuses_is_passed_over() -> None:
    async with a_pair() as (receiver, transport):
        response = await post(transport, receiver.port, addresses=("127.0.0.2", HOST))

        assert response.extensions["address"] == HOST


@in_each_way
async def test_without_an_address_there_is_nothing_to_dial() -> None:
    async with a_pair() as (receiver, transport):
        fault = await fault_of(transport, receiver.port, addresses=())

        assert fault.kind == "dns"


@on_each_loop
async def test_a_peer_that_is_not_permitted_gets_nothing() -> None:
    asked: list[str] = []

    def refuse(address: str) -> bool:
        asked.append(address)
        return False

    async with Receiver() as receiver, a_transport(permits=refuse) as transport:
        fault = await fault_of(transport, receiver.port)

        assert (fault.kind, fault.detail) == ("blocked", "address not allowed")
        assert asked == [HOST]
        await receiver.wait_for_connections(n=0)
        assert receiver.requests == []


@on(*PROXIED)
async def test_behind_a_proxy_the_peer_is_the_proxy_and_it_is_not_judged() -> None:
    async with Receiver() as receiver, a_transport(permits=lambda _: False) as transport:
        response = await post(transport, receiver.port)

        assert (response.status_code, response.extensions["address"]) == (200, HOST)


# Keeping connections


@in_each_way
async def test_a_second_request_uses_the_connection_of_the_first() -> None:
    async with a_pair() as (receiver, transport):
        await post(transport, receiver.port)
        response = await post(transport, receiver.port, target="/another")

        assert response.extensions["reused"]
        assert response.extensions["phases"].connect_s is None
        assert [received.connection for received in receiver.requests] == [1, 1]
        assert repr(transport) == "<Transport [1 open, 1 idle]>"


@in_each_way
async def test_a_kept_connection_that_died_costs_one_resend_on_a_fresh_one() -> None:
    for death in (close_without_answer(), reset()):
        async with a_pair(sequence(answer(), death, answer(201))) as (receiver, transport):
            await post(transport, receiver.port)

            response = await post(transport, receiver.port, body=b"[2]")

            assert response.status_code == 201
            assert not response.extensions["reused"]
            assert [received.connection for received in receiver.requests] == [1, 1, 2]
            assert [received.body for received in receiver.requests[1:]] == [b"[2]", b"[2]"]


@in_each_way
async def test_a_request_is_resent_once_only() -> None:
    async with a_pair(sequence(answer(), close_without_answer())) as (receiver, transport):
        await post(transport, receiver.port)

        fault = await fault_of(transport, receiver.port)

        assert fault.kind == "no_response"
        assert len(receiver.requests) == 3


@in_each_way
async def test_a_request_is_not_resent_once_a_byte_of_an_answer_was_seen() -> None:
    async with a_pair(sequence(answer(), raw(b"HTTP/1", close=True))) as (receiver, transport):
        await post(transport, receiver.port)

        fault = await fault_of(transport, receiver.port)

        assert fault.kind == "protocol"
        assert len(receiver.requests) == 2


@in_each_way
async def test_a_kept_connection_that_hangs_is_not_resent() -> None:
    async with a_pair(sequence(answer(), hang())) as (receiver, transport):
        await post(transport, receiver.port)

        fault = await fault_of(transport, receiver.port, deadline_s=SHORT_S)

        assert fault.kind == "timeout"
        assert len(receiver.requests) == 2


@in_each_way
async def test_a_connection_that_speaks_out_of_turn_is_dropped() -> None:
    async def chatter(_: Received, writer: Writer) -> None:
        await writer.answer()
        await asyncio.sleep(0.05)
        await writer.answer(500)

    async with a_pair(chatter) as (receiver, transport):
        await post(transport, receiver.port)

        await receiver.wait_for_connections(n=0)

        assert repr(transport) == "<Transport [0 open, 0 idle]>"


@in_each_way
async def test_two_answers_to_one_request_are_one_answer_and_a_dropped_connection() -> None:
    twice = OK + b"Content-Length: 0\r\n\r\n" + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    async with a_pair(raw(twice)) as (receiver, transport):
        for _ in range(2):
            response = await post(transport, receiver.port)
            assert response.status_code == 200

        assert receiver.connections == 2


@in_each_way
async def test_no_more_connections_are_kept_for_one_origin_than_allowed() -> None:
    limits = PoolLimits(per_origin=2)
    async with a_pair(delayed(0.1, answer()), limits=limits) as (receiver, transport):
        await asyncio.gather(*(post(transport, receiver.port) for _ in range(6)))

        await receiver.wait_for_connections(n=2)

        assert receiver.connections == 6
        assert repr(transport) == "<Transport [2 open, 2 idle]>"


@in_each_way
async def test_past_the_total_the_connection_that_waits_longest_is_closed() -> None:
    limits = PoolLimits(total=2)
    async with Receiver() as a, Receiver() as b, Receiver() as c, a_transport(limits=limits) as t:
        for receiver in (a, b, a, c):
            await post(t, receiver.port)

        await b.wait_for_connections(n=0)

        assert (a.open_connections, c.open_connections) == (1, 1)
        assert repr(t) == "<Transport [2 open, 2 idle]>"


@in_each_way
async def test_a_connection_that_nobody_needs_is_closed_after_a_while() -> None:
    limits = PoolLimits(idle_s=0.05, sweep_s=0.02)
    async with a_pair(limits=limits) as (receiver, transport):
        await post(transport, receiver.port)

        await receiver.wait_for_connections(n=0)

        assert repr(transport) == "<Transport [0 open, 0 idle]>"


@in_each_way
async def test_a_connection_is_not_kept_past_its_age() -> None:
    async with a_pair(limits=PoolLimits(max_age_s=0.0)) as (receiver, transport):
        for _ in range(2):
            await post(transport, receiver.port)

        assert receiver.connections == 2


@in_each_way
async def test_a_kept_connection_to_an_address_that_is_no_longer_given_is_not_used() -> None:
    async with a_pair() as (receiver, transport):
        await post(transport, receiver.port)

        fault = await fault_of(transport, receiver.port, addresses=("127.0.0.2",))

        assert (fault.kind, fault.address) == (REFUSED[WAY.get()][0], "127.0.0.2")
        assert len(receiver.requests) == 1


@in_each_way
async def test_a_connection_of_one_name_is_not_used_for_another_at_the_same_address() -> None:
    async with a_pair() as (receiver, transport):
        for name in ("a.example.com", "b.example.com"):
            url = check_url(f"http://{name}:{receiver.port}/", POLICY)
            await transport.handle_async_request(a_request(url))

        assert [received.connection for received in receiver.requests] == [1, 2]


@in_each_way
async def test_many_requests_at_once_each_get_their_own_answer() -> None:
    async def echo(received: Received, writer: Writer) -> None:
        await writer.answer(200, body=received.body)

    async with a_pair(echo) as (receiver, transport):
        bodies = [b"%d" % n for n in range(200)]

        responses = await asyncio.gather(
            *(post(transport, receiver.port, body=body) for body in bodies)
        )

        assert [response.extensions["body"] for response in responses] == bodies


# One deadline


@pytest.mark.parametrize(
    ("behaviour", "detail"),
    [
        (hang(), "no answer in time"),
        (drip(OK + b"A: " + b"x" * 1000), "the answer's head did not arrive in time"),
        (drip(b"HTTP/1.1 102 Wait\r\n\r\n" * 50), "the answer's head did not arrive in time"),
        (drip(b"x" * 999, start=OK + b"\r\n"), "the answer's body did not end in time"),
        (drip(b"1;" + b"e" * 999, start=CHUNKED), "the answer's body did not end in time"),
        (raw(OK + b"Content-Length: 9\r\n\r\nhalf"), "the answer's body did not end in time"),
    ],
    ids=["hang", "head", "interim", "body", "chunk-extension", "half-a-body"],
)
@in_each_way
async def test_one_deadline_ends_it_however_lively_the_peer(
    behaviour: Behaviour, detail: str
) -> None:
    async with a_pair(behaviour) as (receiver, transport):
        loop = asyncio.get_running_loop()
        began_at = loop.time()

        fault = await fault_of(transport, receiver.port, deadline_s=SHORT_S)

        assert (fault.kind, fault.detail) == ("timeout", detail)
        assert SHORT_S * 0.9 < loop.time() - began_at < SHORT_S + 2.0
        await receiver.wait_for_connections(n=0)


@in_each_way
async def test_a_kept_connection_holds_each_request_to_its_own_deadline() -> None:
    for first_s, second_s in ((LONG_S, SHORT_S), (SHORT_S / 4, SHORT_S)):
        async with a_pair(sequence(answer(), hang())) as (receiver, transport):
            loop = asyncio.get_running_loop()
            await post(transport, receiver.port, deadline_s=first_s)
            began_at = loop.time()

            fault = await fault_of(transport, receiver.port, deadline_s=second_s)

            assert fault.kind == "timeout"
            assert second_s * 0.9 < loop.time() - began_at < second_s + 2.0


@in_each_way
async def test_an_answer_after_the_deadline_is_not_an_answer() -> None:
    async with a_pair(delayed(SHORT_S, answer())) as (receiver, transport):
        fault = await fault_of(transport, receiver.port, deadline_s=SHORT_S / 2)

        assert fault.kind == "timeout"


@in_each_way
async def test_a_receiver_that_does_not_read_is_held_to_the_deadline() -> None:
    async def ignore(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with bare_server(ignore) as port, a_transport() as transport:
        fault = await fault_of(transport, port, body=b"x" * 50_000_000, deadline_s=SHORT_S)

        assert fault.kind == "timeout"


# Ending


@in_each_way
async def test_a_request_that_is_cancelled_takes_its_connection_with_it() -> None:
    async with a_pair(hang()) as (receiver, transport):
        sending = asyncio.ensure_future(post(transport, receiver.port))
        await receiver.wait_for(1)

        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending

        await receiver.wait_for_connections(n=0)
        assert repr(transport) == "<Transport [0 open, 0 idle]>"


@in_each_way
async def test_closing_ends_idle_connections_and_those_in_use() -> None:
    async with a_pair() as (receiver, transport):
        receiver.script("/hang", hang())
        await post(transport, receiver.port)
        sending = asyncio.ensure_future(fault_of(transport, receiver.port, target="/hang"))
        await post(transport, receiver.port)
        await receiver.wait_for(1, path="/hang")

        await transport.aclose()

        assert (await sending).kind == "no_response"
        await receiver.wait_for_connections(n=0)
        assert repr(transport) == "<Transport [0 open, 0 idle]>"
        assert (await fault_of(transport, receiver.port)).kind == "reset"


# TLS


@asynccontextmanager
async def a_tls_pair(*names: str, **flaws: bool) -> AsyncIterator[tuple[Receiver, Transport]]:
    authority = make_authority()
    context = authority.server_context(*names, **flaws)
    async with Receiver(tls=context) as receiver, a_transport(authority=authority) as transport:
        yield receiver, transport


@in_each_way
async def test_tls_is_spoken_to_the_checked_address_in_the_name_of_the_host() -> None:
    authority, asked = make_authority(), []
    context = authority.server_context(NAME)
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with Receiver(tls=context) as receiver, a_transport(authority=authority) as transport:
        first = await post(transport, receiver.port, scheme="https")
        second = await post(transport, receiver.port, scheme="https")

        assert asked == [NAME]
        assert receiver.requests[0].header("host") == f"{NAME}:{receiver.port}"
        assert first.extensions["address"] == HOST
        assert first.extensions["tls"] == second.extensions["tls"] == "TLSv1.3"
        assert first.extensions["phases"].tls_s > 0.0
        assert second.extensions["reused"]
        assert second.extensions["phases"].tls_s is None


@in_each_way
async def test_an_older_tls_is_refused_and_tls_1_2_accepted() -> None:
    authority = make_authority()
    context = authority.server_context(NAME)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Receiver(tls=context) as receiver, a_transport(authority=authority) as transport:
        response = await post(transport, receiver.port, scheme="https")

        assert response.extensions["tls"] == "TLSv1.2"
        assert client_context().minimum_version == ssl.TLSVersion.TLSv1_2
        assert client_context().verify_mode == ssl.CERT_REQUIRED
        assert client_context().check_hostname


@pytest.mark.parametrize(
    ("names", "flaws", "detail"),
    [
        ((NAME,), {"expired": True}, "the certificate has expired"),
        ((NAME,), {"self_signed": True}, "the certificate is self-signed"),
        (("other.example.com",), {}, "the certificate is for another name"),
        ((HOST,), {}, "the certificate is for another name"),
    ],
)
@in_each_way
async def test_a_certificate_that_fails_a_check_is_a_tls_fault_that_names_it(
    names: tuple[str, ...], flaws: dict[str, bool], detail: str
) -> None:
    async with a_tls_pair(*names, **flaws) as (receiver, transport):
        fault = await fault_of(transport, receiver.port, scheme="https")

        assert (fault.kind, fault.detail) == ("tls", detail)
        assert fault.address == HOST
        assert fault.phases.connect_s is not None
        assert fault.phases.tls_s is not None
        await receiver.wait_for_connections(n=0)
        assert receiver.requests == []


@in_each_way
async def test_a_certificate_of_an_authority_that_is_not_trusted_is_a_tls_fault() -> None:
    context = make_authority().server_context(NAME)
    async with (
        Receiver(tls=context) as receiver,
        a_transport(authority=make_authority()) as transport,
    ):
        fault = await fault_of(transport, receiver.port, scheme="https")

        assert (fault.kind, fault.detail) == ("tls", "the certificate's issuer is not trusted")


@in_each_way
async def test_a_port_that_does_not_speak_tls_is_a_tls_fault() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 This is not TLS\r\n\r\n")
        await asyncio.Event().wait()

    async with bare_server(greet) as port, a_transport() as transport:
        fault = await fault_of(transport, port, scheme="https")

        assert fault.kind == "tls"
        assert fault.detail.startswith("the handshake failed: ")


@in_each_way
async def test_a_connection_that_is_closed_inside_the_handshake_is_a_tls_fault() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset_stream(writer)

    async with bare_server(close) as port, a_transport() as transport:
        fault = await fault_of(transport, port, scheme="https")

        assert (fault.kind, fault.detail) == (
            "tls",
            "the connection was closed during the handshake",
        )


@in_each_way
async def test_a_handshake_that_drips_is_held_to_the_deadline() -> None:
    async def drip_handshake(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"\x16\x03\x03\x40\x00\x02" + bytes(1000):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.03)

    async with bare_server(drip_handshake) as port, a_transport() as transport:
        loop = asyncio.get_running_loop()
        began_at = loop.time()

        fault = await fault_of(transport, port, scheme="https", deadline_s=SHORT_S)

        assert fault.kind == "timeout"
        assert SHORT_S * 0.9 < loop.time() - began_at < SHORT_S + 2.0


@in_each_way
async def test_a_kept_tls_connection_that_died_costs_one_resend() -> None:
    async with a_tls_pair(NAME) as (receiver, transport):
        receiver.script("/", sequence(answer(), close_without_answer(), answer(201)))
        await post(transport, receiver.port, scheme="https")

        response = await post(transport, receiver.port, scheme="https")

        assert response.status_code == 201
        assert receiver.connections == 2
