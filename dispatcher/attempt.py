"""One attempt: guard, sign, send; whatever comes of it is an outcome. Durations are seconds.

This file is the whole of what happens to a delivery on the wire. It decides nothing and writes
nothing: `verdict.py` and `settle.py` do.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from dispatcher.fault import DeliveryFault, Phases
from dispatcher.guard import Guard
from dispatcher.match import Target
from schema.address import EndpointUrl
from schema.delivery import Fault, Outcome
from schema.event import JSON
from signer.standard import Signer

KEPT_HEADERS: Final = 32  # of an answer, in the log
KEPT_HEADER_BYTES: Final = 512  # of each value
SECRET_HEADERS: Final = frozenset(
    {"set-cookie", "authorization", "www-authenticate", "proxy-authenticate", "cookie"}
)
_JSON_TYPE: Final = (b"Content-Type", JSON.encode())
_SOME_URL: Final = httpx.URL("http://endpoint/")  # where to is said by the extensions
_log = logging.getLogger(__name__)


class Attempter:
    """Makes attempts with what it was given: the guard, the transport and a clock."""

    def __init__(
        self,
        *,
        guard: Guard,
        transport: httpx.AsyncBaseTransport,
        clock: Callable[[], datetime],
        timeout_s: float,
        kept_bytes: int,
        svix_headers: bool,
    ) -> None:
        """Take the parts; `timeout_s` is for all of an attempt, from resolving to the last byte."""
        self._guard = guard
        self._transport = transport
        self._clock = clock
        self._timeout_s = timeout_s
        self._kept_bytes = kept_bytes
        self._prefixes = (b"webhook", b"svix") if svix_headers else (b"webhook",)

    async def attempt(
        self,
        target: Target,
        message_id: str,
        payload: bytes,
        content_type: str,
        *,
        on_sending: Callable[[], None] | None = None,
    ) -> Outcome:
        """Send a message to an endpoint once. Never raises for what a receiver does.

        `on_sending` is told when the request is handed to an open connection.
        """
        url, signer = target.url, target.signer
        if url is None or signer is None or target.fault:
            kind = Fault.INTERNAL if url is not None else Fault.BLOCKED
            return Outcome(fault=kind, detail=target.fault)
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            addresses, dns_s = await self._addresses(url)
            request = httpx.Request(
                "POST",
                _SOME_URL,
                headers=self._headers(signer, message_id, payload, content_type),
                stream=httpx.ByteStream(payload),
                extensions={
                    "url": url,
                    "addresses": addresses,
                    "deadline_s": self._timeout_s - (dns_s or 0.0),
                    "dns_s": dns_s,
                    "head": target.head,
                    "on_sending": on_sending,
                },
            )
            response = await self._transport.handle_async_request(request)
        except DeliveryFault as fault:
            return _faulted(fault, Fault(fault.kind), loop.time() - started)
        except Exception as error:  # noqa: BLE001 a fault of ours must not lose a delivery
            _log.exception("an attempt failed on our side")
            return Outcome(
                fault=Fault.INTERNAL,
                detail=f"internal error: {type(error).__name__}",
                duration_ms=_ms(loop.time() - started),
            )
        return self._answered(response, loop.time() - started)

    async def _addresses(self, url: EndpointUrl) -> tuple[tuple[str, ...], float | None]:
        """Give what may be dialled, and how long resolving took if it had to be done."""
        known = self._guard.cached(url)
        if known is not None:
            return known, None
        loop = asyncio.get_running_loop()
        asked = loop.time()
        addresses = await self._guard.addresses(url)
        return addresses, loop.time() - asked

    def _headers(
        self, signer: Signer, message_id: str, payload: bytes, content_type: str
    ) -> list[tuple[bytes, bytes]]:
        timestamp = int(self._clock().timestamp())
        ident, second = message_id.encode(), b"%d" % timestamp
        signature = signer.sign(message_id, timestamp, payload).encode()
        headers = [_JSON_TYPE if content_type == JSON else (b"Content-Type", content_type.encode())]
        for prefix in self._prefixes:
            headers += (
                (prefix + b"-id", ident),
                (prefix + b"-timestamp", second),
                (prefix + b"-signature", signature),
            )
        return headers

    def _answered(self, response: httpx.Response, duration_s: float) -> Outcome:
        extensions = response.extensions
        body: bytes = extensions["body"]
        raw = response.headers.raw
        named = {name.lower(): value for name, value in raw}
        retry_after = named.get(b"retry-after")
        control = named.get(b"webhook-delivery")
        failed = not response.is_success
        return Outcome(
            status=response.status_code,
            retry_after_s=self._retry_after_s(retry_after) if retry_after and failed else None,
            control=control.decode("latin-1").strip().lower() if control and failed else None,
            body=body[: self._kept_bytes],
            truncated=bool(extensions["truncated"]) or len(body) > self._kept_bytes,
            headers=_kept(raw) if failed else (),
            phases_ms=_phases_ms(extensions["phases"]),
            duration_ms=_ms(duration_s),
            address=str(extensions["address"]),
            reused=bool(extensions["reused"]),
            tls=str(extensions["tls"]) if extensions["tls"] else None,
        )

    def _retry_after_s(self, value: bytes) -> float | None:
        """Read a Retry-After, in seconds or as a date; nonsense is none."""
        text = value.decode("latin-1").strip()
        try:
            if text.replace(".", "", 1).isdigit():
                return float(text)
            return max((parsedate_to_datetime(text) - self._clock()).total_seconds(), 0.0)
        except (ValueError, TypeError, OverflowError):
            return None


def _faulted(fault: DeliveryFault, kind: Fault, duration_s: float) -> Outcome:
    return Outcome(
        fault=kind,
        detail=fault.detail,
        phases_ms=_phases_ms(fault.phases),
        duration_ms=_ms(duration_s),
        address=fault.address,
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
    return tuple(0.0 if phase is None else phase * 1000 for phase in phases)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
