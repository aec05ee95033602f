"""One attempt: guard, sign, send; whatever comes of it is an outcome. Durations are seconds.

This file is the whole of what happens to a delivery on the wire. It decides nothing and writes
nothing: `verdict.py` and `settle.py` do.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

from dispatcher.fault import DeliveryFault, Phases
from dispatcher.guard import Guard
from dispatcher.match import Target
from dispatcher.oauth import OauthClient
from dispatcher.post import Post, Posts, Reply
from dispatcher.shaping import CalledOff, Shaped, Unshaped, is_of_place
from dispatcher.tokens import Token
from dispatcher.transport import header_lines
from schema.address import EndpointUrl
from schema.delivery import Fault, Outcome, is_success
from schema.event import JSON
from signer.standard import Signer

KEPT_HEADERS: Final = 32  # of an answer, in the log
KEPT_HEADER_BYTES: Final = 512  # of each value
SECRET_HEADERS: Final = frozenset(
    {"set-cookie", "authorization", "www-authenticate", "proxy-authenticate", "cookie"}
)
_MAX_TYPES: Final = 256  # content types of which the line is kept
_LINES: Final = b"webhook-id: %b\r\nwebhook-timestamp: %d\r\nwebhook-signature: %b\r\n"
_SVIX_LINES: Final = _LINES.replace(b"webhook", b"svix")
_log = logging.getLogger(__name__)


class Lends(Protocol):
    """Gives access tokens: the dispatcher's `Tokens`."""

    async def get(self, client: OauthClient, until: float) -> Token:
        """Give one.

        Raises:
            DeliveryFault: There is none.
        """
        ...

    def answered(self, client: OauthClient, token: Token, status: int) -> None:
        """Note what an endpoint said to one."""
        ...


class Shapes(Protocol):
    """Makes the requests for endpoints that have code for it: the dispatcher's `Shaper`."""

    async def shape(self, target: Target, url: EndpointUrl, message: Unshaped) -> Shaped:
        """Make the request of a message.

        Raises:
            CalledOff: Nothing is to be sent.
            DeliveryFault: There is nothing that could be.
        """
        ...


class Attempter:
    """Makes attempts with what it was given: the guard, the transport and a clock."""

    def __init__(
        self,
        *,
        guard: Guard,
        transport: Posts,
        tokens: Lends,
        shaper: Shapes,
        clock: Callable[[], datetime],
        timeout_s: float,
        kept_bytes: int,
        svix_headers: bool,
    ) -> None:
        """Take the parts; `timeout_s` is for all of an attempt, from resolving to the last byte."""
        self._guard = guard
        self._transport = transport
        self._tokens = tokens
        self._shaper = shaper
        self._clock = clock
        self._timeout_s = timeout_s
        self._kept_bytes = kept_bytes
        self._svix_headers = svix_headers
        self._type_lines = {JSON: header_lines([(b"Content-Type", JSON.encode())])}

    def attempt(
        self,
        target: Target,
        message_id: str,
        payload: bytes,
        content_type: str,
        *,
        event_type: str = "",
        on_sending: Callable[[], None] | None = None,
    ) -> Coroutine[Any, Any, Outcome]:
        """Send a message to an endpoint once. Never raises for what a receiver does.

        `on_sending` is told when the request is handed to an open connection.
        """
        if target.transforms:
            message = Unshaped(message_id, event_type, payload, content_type)
            return self._shape(target, message, on_sending)
        return self._send(
            target,
            target.url,
            target.head,
            message_id=message_id,
            payload=payload,
            content_type=content_type,
            on_sending=on_sending,
        )

    async def _send(
        self,
        target: Target,
        url: EndpointUrl | None,
        head: bytes,
        *,
        message_id: str,
        payload: bytes,
        content_type: str,
        on_sending: Callable[[], None] | None,
        spent_s: float = 0.0,
    ) -> Outcome:
        """Send a request; `spent_s` is what making it took of the attempt's time."""
        signer = target.signer
        if url is None or signer is None or target.fault:
            return _unready(target)
        loop = asyncio.get_running_loop()
        # Code may send it elsewhere: what proves who we are goes to the endpoint's own place alone.
        is_own = url is target.url or is_of_place(url, target.url)
        client, tls = (target.oauth, target.tls) if is_own else (None, None)
        started, token = loop.time(), None
        try:
            addresses, dns_s = self._guard.cached(url), None
            if addresses is None:
                addresses = await self._resolved(url, target.app_id)
                dns_s = loop.time() - started
            within_s = self._timeout_s - spent_s - (dns_s or 0.0)
            if client is not None:
                token = await self._tokens.get(client, started + self._timeout_s - spent_s)
                within_s = self._timeout_s - spent_s - (loop.time() - started)
            lines = self._lines(signer, message_id, payload, content_type, token)
            post = Post(url, addresses, within_s, head, payload, lines, dns_s, on_sending, tls)
            reply = await self._transport.post(post)
        except DeliveryFault as fault:
            return _faulted(fault, Fault(fault.kind), loop.time() - started)
        except Exception as error:  # noqa: BLE001 a fault of ours must not lose a delivery
            _log.exception("an attempt failed on our side")
            return _ours(error, loop.time() - started)
        if client is not None and token is not None:
            self._tokens.answered(client, token, reply.status)
        return self._answered(reply, loop.time() - started)

    async def _shape(
        self, target: Target, message: Unshaped, on_sending: Callable[[], None] | None
    ) -> Outcome:
        """Have the endpoint's code make the request, and send that."""
        if target.url is None or target.fault:
            return _unready(target)
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._timeout_s):
                made = await self._shaper.shape(target, target.url, message)
        except CalledOff:
            return Outcome(cancelled=True, duration_ms=_ms(loop.time() - started))
        except TimeoutError:
            late = DeliveryFault("timeout", "the transformation had no turn in time")
            return _faulted(late, Fault.TIMEOUT, loop.time() - started)
        except DeliveryFault as fault:
            return _faulted(fault, Fault(fault.kind), loop.time() - started)
        except Exception as error:  # noqa: BLE001 a fault of ours must not lose a delivery
            _log.exception("a transformation failed on our side")
            return _ours(error, loop.time() - started)
        spent_s = loop.time() - started
        outcome = await self._send(
            target,
            made.url,
            made.head,
            message_id=message.message_id,
            payload=made.payload,
            content_type=made.content_type,
            on_sending=on_sending,
            spent_s=spent_s,
        )
        elsewhere = None if made.url is target.url else made.url.text
        return outcome._replace(url=elsewhere, duration_ms=outcome.duration_ms + _ms(spent_s))

    async def _resolved(self, url: EndpointUrl, app_id: str) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._guard.addresses(url, app_id)
        except TimeoutError:
            raise DeliveryFault("timeout", "the name was not resolved in time") from None

    def _lines(
        self,
        signer: Signer,
        message_id: str,
        payload: bytes,
        content_type: str,
        token: Token | None,
    ) -> bytes:
        """Write the headers that differ from attempt to attempt."""
        second = int(self._clock().timestamp())
        if not (message_id.isascii() and message_id.isprintable()):
            raise ValueError("the message id cannot be sent")
        ident, signature = message_id.encode(), signer.header(message_id, second, payload)
        lines = self._type_line(content_type) + _LINES % (ident, second, signature)
        if self._svix_headers:
            lines += _SVIX_LINES % (ident, second, signature)
        return lines if token is None else lines + token.line

    def _type_line(self, content_type: str) -> bytes:
        """Write the header that says what the payload is; there are few kinds, so they are kept."""
        line = self._type_lines.get(content_type)
        if line is None:
            line = header_lines([(b"Content-Type", content_type.encode())])
            if len(self._type_lines) < _MAX_TYPES:
                self._type_lines[content_type] = line
        return line

    def _answered(self, reply: Reply, duration_s: float) -> Outcome:
        body, failed = reply.body, not is_success(reply.status)
        retry_after_s = control = None
        if failed:
            named = {name.lower(): value for name, value in reply.headers}
            retry_after_s = self._retry_after_s(named.get(b"retry-after"))
            control = _control(named.get(b"webhook-delivery"))
        return Outcome(
            status=reply.status,
            retry_after_s=retry_after_s,
            control=control,
            body=body[: self._kept_bytes],
            truncated=reply.truncated or len(body) > self._kept_bytes,
            headers=_kept(reply.headers) if failed else (),
            phases_ms=_phases_ms(reply.phases),
            duration_ms=_ms(duration_s),
            address=reply.address,
            reused=reply.reused,
            tls=reply.tls,
        )

    def _retry_after_s(self, value: bytes | None) -> float | None:
        """Read a Retry-After, in seconds or as a date; nonsense is none."""
        if not value:
            return None
        text = value.decode("latin-1").strip()
        try:
            if text.replace(".", "", 1).isdigit():
                return float(text)
            return max((parsedate_to_datetime(text) - self._clock()).total_seconds(), 0.0)
        except (ValueError, TypeError, OverflowError):
            return None


def _unready(target: Target) -> Outcome:
    kind = Fault.INTERNAL if target.url is not None else Fault.BLOCKED
    return Outcome(fault=kind, detail=target.fault)


def _control(value: bytes | None) -> str | None:
    return value.decode("latin-1").strip().lower() if value else None


def _faulted(fault: DeliveryFault, kind: Fault, duration_s: float) -> Outcome:
    return Outcome(
        fault=kind,
        detail=fault.detail,
        retry_after_s=fault.retry_after_s,
        phases_ms=_phases_ms(fault.phases),
        duration_ms=_ms(duration_s),
        address=fault.address,
    )


def _ours(error: Exception, duration_s: float) -> Outcome:
    return Outcome(
        fault=Fault.INTERNAL,
        detail=f"internal error: {type(error).__name__}",
        duration_ms=_ms(duration_s),
    )


def _kept(raw: list[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Give what the log keeps of an answer's headers; what looks like a secret is masked."""
    kept = []
    for name, value in raw[:KEPT_HEADERS]:
        key = _printable(name).lower()
        kept.append((key, "***" if key in SECRET_HEADERS else _printable(value)))
    return tuple(kept)


def _printable(value: bytes) -> str:
    return value[:KEPT_HEADER_BYTES].decode("latin-1").replace("\0", "\ufffd")


def _phases_ms(phases: Phases) -> tuple[float, ...]:
    dns_s, connect_s, tls_s, first_byte_s, body_s = phases
    return (
        dns_s * 1000 if dns_s else 0.0,
        connect_s * 1000 if connect_s else 0.0,
        tls_s * 1000 if tls_s else 0.0,
        first_byte_s * 1000 if first_byte_s else 0.0,
        body_s * 1000 if body_s else 0.0,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
