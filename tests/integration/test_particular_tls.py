"""An endpoint's own authorities and our identity towards it, on the wire, direct and by proxies."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

import pytest

from dispatcher.egress import ProxyKind
from dispatcher.fault import DeliveryFault
from dispatcher.post import Post, Reply
from dispatcher.tls import LARGE_BYTES, SMALL_BYTES, Contexts, Tls, particular
from dispatcher.transport import Transport, request_head
from schema.address import AddressPolicy, check_url
from tests.certificates import Issued, asking, authority_pem, issue
from tests.listener import HOST
from tests.proxies import TunnelProxy
from tests.receiver import (
    Authority,
    Handle,
    Received,
    Receiver,
    Writer,
    bare_server,
    make_authority,
)

POLICY = AddressPolicy(allowed_networks=(ip_network("127.0.0.0/8"),))
NAME = "localhost"
APP = "app_1"
SERVERS, CLIENTS, OTHERS = make_authority(), make_authority(), make_authority()
TRUSTED = SERVERS.client_context()
DISTRUSTING = OTHERS.client_context()
ALICE, BOB = issue(CLIENTS, name="alice"), issue(CLIENTS, name="bob")
in_each_way = pytest.mark.parametrize(
    "way", [None, *ProxyKind], ids=["direct", *(kind.name.lower() for kind in ProxyKind)]
)


class Names:
    """A behaviour that notes whose certificate each request came by."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, _: Received, writer: Writer) -> None:
        shown = writer._stream.get_extra_info("ssl_object").getpeercert()
        subject = dict(pair[0] for pair in (shown or {}).get("subject", ()))
        self.seen.append(subject.get("commonName", "nobody"))
        await writer.answer()


@asynccontextmanager
async def a_way(
    way: ProxyKind | None, *, standard: ssl.SSLContext = TRUSTED
) -> AsyncIterator[Transport]:
    """Lend a transport, through a proxy of the kind if there is one."""
    if way is None:
        transport = Transport(permits=lambda _: True, tls=standard)
        yield transport
        await transport.aclose()
        return
    async with TunnelProxy(way) as proxy:
        transport = Transport(permits=lambda _: True, tls=standard, proxy=proxy.proxy)
        yield transport
        await transport.aclose()


def trusting(*authorities: Authority, app_id: str = APP, who: Issued | None = None) -> Tls:
    pem = "".join(authority_pem(one) for one in authorities)
    return particular(app_id, pem or None, who.identity.encode() if who else None)


async def post(transport: Transport, port: int, tls: Tls | None = None) -> Reply:
    url = check_url(f"https://{NAME}:{port}/hook", POLICY)
    return await transport.post(Post(url, (HOST,), 20, request_head(url, []), b"{}", tls=tls))


async def fault_of(transport: Transport, port: int, tls: Tls | None = None) -> DeliveryFault:
    with pytest.raises(DeliveryFault) as fault:
        await post(transport, port, tls)
    return fault.value


@in_each_way
async def test_an_endpoints_authorities_count_and_no_others(way: ProxyKind | None) -> None:
    async with (
        Receiver(tls=SERVERS.server_context()) as receiver,
        Receiver(tls=OTHERS.server_context()) as other,
        a_way(way, standard=DISTRUSTING) as transport,
    ):
        assert (await post(transport, receiver.port, trusting(SERVERS))).status == 200
        assert (await post(transport, receiver.port, trusting(OTHERS, SERVERS))).status == 200
        assert (await post(transport, other.port)).status == 200
        for port, tls in ((other.port, trusting(SERVERS)), (receiver.port, None)):
            fault = await fault_of(transport, port, tls)
            assert (fault.kind, fault.detail) == ("tls", "the certificate's issuer is not trusted")


async def test_a_servers_own_certificate_may_stand_for_its_authority() -> None:
    served = SERVERS.server_context()
    async with Receiver(tls=served) as receiver, a_way(None, standard=DISTRUSTING) as transport:
        reader, writer = await asyncio.open_connection(HOST, receiver.port, ssl=blind())
        own = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        del reader
        pem = ssl.DER_cert_to_PEM_cert(own)

        reply = await post(transport, receiver.port, particular(APP, pem, None))
        fault = await fault_of(transport, receiver.port, trusting(OTHERS))

        assert (reply.status, fault.kind) == (200, "tls")


def blind() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_a_name_is_verified_with_authorities_of_ones_own_as_well() -> None:
    context = SERVERS.server_context("other.example.com")
    async with Receiver(tls=context) as receiver, a_way(None) as transport:
        fault = await fault_of(transport, receiver.port, trusting(SERVERS))

        assert (fault.kind, fault.detail) == ("tls", "the certificate is for another name")


@in_each_way
async def test_a_server_that_asks_is_told_who_we_are(way: ProxyKind | None) -> None:
    names = Names()
    async with (
        Receiver(tls=asking(SERVERS, CLIENTS)) as receiver,
        a_way(way, standard=DISTRUSTING) as transport,
    ):
        receiver.script("/", names)

        reply = await post(transport, receiver.port, trusting(SERVERS, who=ALICE))

        assert (reply.status, names.seen) == (200, ["alice"])


async def test_an_identity_alone_leaves_the_usual_authorities() -> None:
    async with Receiver(tls=asking(SERVERS, CLIENTS)) as receiver, a_way(None) as transport:
        fault = await fault_of(transport, receiver.port, trusting(who=ALICE))

        assert (fault.kind, fault.detail) == ("tls", "the certificate's issuer is not trusted")


def judging(context: ssl.SSLContext) -> Handle:
    """Shake hands as servers do that say by an alert what they do not like, and wait then.

    (asyncio's own hangs up without a word.)
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard, told = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(heard, told, server_side=True)
        with suppress(ssl.SSLError):
            while data := await reader.read(65536):
                heard.write(data)
                with suppress(ssl.SSLWantReadError):
                    session.do_handshake()
                writer.write(told.read())
        writer.write(told.read())
        writer.write_eof()
        while await reader.read(65536):
            pass

    return handle


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
async def test_a_server_that_does_not_know_who_vouches_for_us_is_a_fault_that_says_so(
    newest: ssl.TLSVersion,
) -> None:
    context = asking(SERVERS, CLIENTS, newest=newest)
    async with bare_server(judging(context)) as port, a_way(None) as transport:
        fault = await fault_of(transport, port, trusting(SERVERS, who=issue(OTHERS)))

        assert (fault.kind, fault.detail) == (
            "tls",
            "the receiver does not know our certificate's issuer",
        )


async def test_a_server_that_wants_to_know_who_we_are_is_a_fault_that_says_so() -> None:
    async with bare_server(judging(asking(SERVERS, CLIENTS))) as port, a_way(None) as transport:
        fault = await fault_of(transport, port)

        assert (fault.kind, fault.detail) == ("tls", "the receiver wants a client certificate")


@in_each_way
async def test_no_connection_is_shared_by_endpoints_of_different_certificates(
    way: ProxyKind | None,
) -> None:
    names, context = Names(), asking(SERVERS, CLIENTS)
    context.verify_mode = ssl.CERT_OPTIONAL
    ways = {
        "nobody": None,
        "alice": trusting(SERVERS, who=ALICE),
        "bob": trusting(SERVERS, who=BOB),
        "alice by others": trusting(SERVERS, OTHERS, who=ALICE),
        "no name": trusting(SERVERS),
        "alice of another app": trusting(SERVERS, who=ALICE, app_id="app_2"),
    }
    async with Receiver(tls=context) as receiver, a_way(way) as transport:
        receiver.script("/", names)

        first = [await post(transport, receiver.port, tls) for tls in ways.values()]
        again = [await post(transport, receiver.port, tls) for tls in ways.values()]

        assert [reply.reused for reply in first] == [False] * len(ways)
        assert [reply.reused for reply in again] == [True] * len(ways)
        assert names.seen == ["nobody", "alice", "bob", "alice", "nobody", "alice"] * 2
        assert receiver.connections == len(ways)


async def test_endpoints_of_an_app_share_what_is_the_same() -> None:
    async with Receiver(tls=asking(SERVERS, CLIENTS)) as receiver, a_way(None) as transport:
        replies = [
            await post(transport, receiver.port, trusting(SERVERS, who=ALICE)) for _ in range(2)
        ]

        assert [reply.reused for reply in replies] == [False, True]


async def test_an_identity_that_tls_does_not_take_is_a_fault() -> None:
    async with Receiver(tls=SERVERS.server_context()) as receiver, a_way(None) as transport:
        nonsense = particular(APP, authority_pem(SERVERS), b"no identity")

        fault = await fault_of(transport, receiver.port, nonsense)

        assert (fault.kind, fault.detail) == ("tls", "the endpoint's certificates cannot be used")
        assert receiver.connections == 0


# Contexts


async def context_of(contexts: Contexts, tls: Tls, within_s: float = 20) -> ssl.SSLContext:
    return await contexts.get(tls, asyncio.get_running_loop().time() + within_s)


async def test_a_context_is_made_once_however_many_wait_for_it() -> None:
    contexts, tls = Contexts(), trusting(SERVERS, who=ALICE)

    made = await asyncio.gather(*(context_of(contexts, tls) for _ in range(20)))

    assert len({id(one) for one in made}) == len(contexts) == 1
    contexts.close()


async def test_of_contexts_those_are_kept_that_were_used_last_and_fit() -> None:
    contexts = Contexts(kept_bytes=LARGE_BYTES + 2 * SMALL_BYTES)
    small = [trusting(SERVERS, who=issue(CLIENTS)) for _ in range(3)]
    first, second = [await context_of(contexts, tls) for tls in small[:2]]
    large = await context_of(contexts, trusting(who=ALICE))
    assert await context_of(contexts, small[0]) is first

    await context_of(contexts, small[2])

    assert len(contexts) == 3
    assert await context_of(contexts, small[0]) is first
    assert await context_of(contexts, small[1]) is not second
    assert large.verify_mode is ssl.CERT_REQUIRED
    contexts.close()


async def test_an_app_that_has_many_contexts_made_holds_up_no_other() -> None:
    contexts = Contexts()
    flood = [
        asyncio.ensure_future(context_of(contexts, trusting(who=issue(CLIENTS)))) for _ in range(30)
    ]
    await asyncio.sleep(0)

    await context_of(contexts, trusting(who=ALICE, app_id="app_2"))

    assert sum(one.done() for one in flood) < 5
    for one in flood:
        one.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    contexts.close()


async def test_a_context_that_is_not_ready_in_time_is_a_fault() -> None:
    contexts = Contexts()

    with pytest.raises(DeliveryFault) as fault:
        await context_of(contexts, trusting(who=ALICE), within_s=0)

    assert fault.value.kind == "timeout"
    contexts.close()
