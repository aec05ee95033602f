"""A scriptable endpoint on real sockets, for tests.

    async with Receiver() as receiver:
        receiver.script("/flaky", sequence(answer(503), close_without_answer(), answer(200)))
        ...  # something delivers to receiver.url("/flaky")
        first, second, third = await receiver.wait_for(3, path="/flaky")

A behaviour is an async callable that gets the request and a `Writer`; when it returns, the
connection goes on to the next request unless it was closed. What no script covers is answered
with an empty 200. `bare_server` is for peers that do not even read. Durations are seconds.
"""

import asyncio
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from socket import SO_LINGER, SOL_SOCKET
from tempfile import TemporaryDirectory

import httptools
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.listener import HOST, Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it arrived."""

    method: str
    target: str  # path and query
    path: str
    headers: list[tuple[str, str]]  # names lower-cased, in order
    body: bytes
    at: float  # the loop's time, when the body was complete
    wall_s: float  # the wall clock's, in seconds since 1970
    connection: int  # 1 for the first connection that was opened

    def header(self, name: str) -> str | None:
        """Return the value of a header that came at most once."""
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


class Writer:
    """The receiver's end of a connection, as a behaviour sees it."""

    def __init__(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._stream = stream
        self.is_closed = False

    async def send(self, data: bytes) -> bool:
        """Send raw bytes; say whether the peer is still there, which it need not be."""
        try:
            self._stream.write(data)
            await self._stream.drain()
        except ConnectionError:
            return False
        return not self._stream.is_closing()

    async def answer(
        self, status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Send a whole answer."""
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def half_close(self) -> None:
        """Send FIN and keep reading."""
        self._stream.write_eof()

    def close(self) -> None:
        """Close in order, after what was sent has gone out."""
        self.is_closed = True
        self._stream.close()

    def reset(self) -> None:
        """Close with RST."""
        self.is_closed = True
        reset_stream(self._stream)

    async def gone(self) -> None:
        """Wait until the peer has closed the connection; what it still sends is dropped."""
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass


Behaviour = Callable[[Received, Writer], Awaitable[None]]
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(
    status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Behaviour:
    """Answer like this, always."""

    async def behave(_: Received, writer: Writer) -> None:
        await writer.answer(status, headers, body)

    return behave


def sequence(*behaviours: Behaviour) -> Behaviour:
    """Behave like each in turn, one a request, and like the last from then on."""
    left = list(behaviours)

    async def behave(received: Received, writer: Writer) -> None:
        behaviour = left.pop(0) if len(left) > 1 else left[0]
        await behaviour(received, writer)

    return behave


def delayed(delay_s: float, behaviour: Behaviour) -> Behaviour:
    """Wait before behaving so."""

    async def behave(received: Received, writer: Writer) -> None:
        await asyncio.sleep(delay_s)
        await behaviour(received, writer)

    return behave


def hang() -> Behaviour:
    """Read the request and never answer, until the peer or the receiver gives up."""

    async def behave(_: Received, writer: Writer) -> None:
        await writer.gone()

    return behave


def drip(data: bytes, *, start: bytes = b"", every_s: float = 0.05) -> Behaviour:
    """Send `start` at once and `data` one byte at a time, as long as the peer is there."""

    async def behave(_: Received, writer: Writer) -> None:
        await writer.send(start)
        for byte in data:
            if not await writer.send(bytes((byte,))):
                break
            await asyncio.sleep(every_s)

    return behave


def reset() -> Behaviour:
    """Break the connection with RST instead of answering."""

    async def behave(_: Received, writer: Writer) -> None:
        writer.reset()

    return behave


def close_without_answer() -> Behaviour:
    """Close the connection in order instead of answering."""

    async def behave(_: Received, writer: Writer) -> None:
        writer.close()

    return behave


def raw(*pieces: bytes, close: bool = False) -> Behaviour:
    """Send exactly these bytes, whatever they mean."""

    async def behave(_: Received, writer: Writer) -> None:
        for piece in pieces:
            await writer.send(piece)
        if close:
            writer.close()

    return behave


class Receiver(Listener):
    """Listens on a free port of the loopback and does as scripted."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        """With `tls` it speaks HTTPS; `port` 0 is any free one."""
        super().__init__(port=port, tls=tls)
        self.requests: list[Received] = []
        self.open_connections = 0
        self._scripts: dict[str, Behaviour] = {}
        self._changed = asyncio.Condition()

    def url(self, path: str = "/", *, host: str = HOST) -> str:
        """Return the URL of a path here, under any name that leads here."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def script(self, path_prefix: str, behaviour: Behaviour) -> None:
        """Behave so for paths that begin like this; the longest prefix wins."""
        self._scripts[path_prefix] = behaviour

    async def wait_for(
        self,
        n: int,
        *,
        path: str | None = None,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> list[Received]:
        """Return the first requests for `path` (for any, without) once there are `n` or more."""

        def matching() -> list[Received]:
            return [r for r in self.requests if path is None or r.path == path]

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: len(matching()) >= n)
        except TimeoutError:
            came = f"{len(matching())} of {n} requests for {path or 'any path'}"
            raise AssertionError(f"{came} came within {timeout} s") from None
        return matching()

    async def wait_for_connections(self, *, n: int, within_s: float = 10.0) -> None:
        """Wait until exactly `n` connections are open."""
        try:
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: self.open_connections == n)
        except TimeoutError:
            raise AssertionError(f"{self.open_connections} connections are open, not {n}") from None

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        await self._count(+1)
        try:
            await self._converse(reader, stream, self.connections)
        except (ConnectionError, asyncio.CancelledError):  # it is the task's own end, too
            pass
        finally:
            stream.transport.abort()
            await self._count(-1)

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.open_connections += change
            self._changed.notify_all()

    async def _converse(
        self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter, connection: int
    ) -> None:
        requests = _RequestReader(connection)
        writer = Writer(reader, stream)
        while not writer.is_closed and (data := await reader.read(65536)):
            for received in requests.feed(data):
                async with self._changed:
                    self.requests.append(received)
                    self._changed.notify_all()
                await self._behaviour(received.path)(received, writer)
        if writer.is_closed:  # what was written goes out first
            await stream.wait_closed()

    def _behaviour(self, path: str) -> Behaviour:
        prefixes = [prefix for prefix in self._scripts if path.startswith(prefix)]
        return self._scripts[max(prefixes, key=len)] if prefixes else answer()


class _RequestReader:
    """Cuts the bytes of one connection into requests."""

    def __init__(self, connection: int) -> None:
        self._connection = connection
        self._parser = httptools.HttpRequestParser(self)
        self._done: list[Received] = []

    def feed(self, data: bytes) -> list[Received]:
        self._parser.feed_data(data)
        done, self._done = self._done, []
        return done

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        target = self._target.decode("latin-1")
        self._done.append(
            Received(
                method=self._parser.get_method().decode("ascii"),
                target=target,
                path=target.partition("?")[0],
                headers=self._headers,
                body=self._body,
                at=asyncio.get_running_loop().time(),
                wall_s=time.time(),
                connection=self._connection,
            )
        )


class _BareServer(Listener):
    def __init__(self, handle: Handle) -> None:
        super().__init__()
        self._handle = handle

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            await self._handle(reader, stream)
        stream.transport.abort()


@asynccontextmanager
async def bare_server(handle: Handle) -> AsyncIterator[int]:
    """Listen, give every connection to `handle`, and yield the port."""
    async with _BareServer(handle) as server:
        yield server.port


def reset_stream(stream: asyncio.StreamWriter) -> None:
    """Close with RST."""
    stream.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    stream.transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority for one test run; its key is never written down."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    def client_context(self) -> ssl.SSLContext:
        """Return what trusts this authority and no other."""
        context = ssl.create_default_context(cadata=_pem(self.certificate).decode("ascii"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def server_context(
        self, *names: str, expired: bool = False, self_signed: bool = False
    ) -> ssl.SSLContext:
        """Return what proves to be `names` (localhost and 127.0.0.1 by default), or fails to."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name("receiver")
        issuer = subject if self_signed else self.certificate.subject
        builder = _certificate(key, subject, issuer, ends=timedelta(days=-1 if expired else 1))
        alternatives = x509.SubjectAlternativeName(_alternatives(names or ("localhost", HOST)))
        certificate = builder.add_extension(alternatives, critical=False).sign(
            key if self_signed else self.key, hashes.SHA256()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with TemporaryDirectory() as folder:  # the ssl module reads keys from files only
            path = Path(folder) / "receiver.pem"
            path.write_bytes(_private_pem(key) + _pem(certificate))
            context.load_cert_chain(path)
        return context


def make_authority() -> Authority:
    """Make a throw-away authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Authority {token_hex(4)}")  # two of the same name would pass for one another
    builder = _certificate(key, name, name, ends=timedelta(days=1))
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    certificate = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    return Authority(key=key, certificate=certificate)


def _certificate(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, *, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
