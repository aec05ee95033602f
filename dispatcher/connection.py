"""One connection to one checked address, used for one exchange at a time.

Durations are seconds; `deadline_at` is in the loop's own time. An exchange costs no task and rarely
a timer. A connection that is not in order after an exchange closes itself, so whoever holds one
only asks `is_open`.
"""

import asyncio
import ssl
from time import monotonic
from typing import cast

from dispatcher.answer import Answer, AnswerReader, Bounds
from dispatcher.fault import DeliveryFault, Phases

# Scheme, host, port; and the key of what is particular about TLS, empty where nothing is. Only
# requests of one origin share connections.
Origin = tuple[str, str, int, str]

# OpenSSL's numbers (x509_vfy.h) in our words; the rest is reported as it words it.
_CERTIFICATE_FAULTS = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the certificate's issuer is not trusted",
    20: "the certificate's issuer is not trusted",
    21: "the certificate's issuer is not trusted",
    23: "the certificate was revoked",
    62: "the certificate is for another name",
    64: "the certificate is for another address",
}
# What a receiver says by an alert of TLS, as OpenSSL names it.
_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the receiver wants a client certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the receiver does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the receiver says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the receiver says that our certificate was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the receiver does not accept our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the receiver does not accept our certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "the receiver does not accept our certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the receiver does not know our certificate's issuer",
}


class Stale(Exception):
    """A connection that was kept died before a byte of the answer; the request may be resent."""


class Connection(asyncio.Protocol):
    """A connection in the hands of one exchange, or of the pool."""

    def __init__(self, *, origin: Origin, address: str, bounds: Bounds) -> None:
        self.origin = origin
        self.address = address
        self.opened_at = monotonic()
        self.fit_until = 0.0  # while it waits, by the pool's limits
        self.connect_s: float | None = None
        self.tls_s: float | None = None
        self.tls_version: str | None = None
        self.answers = 0  # received over it
        self.is_reused = False  # by the last exchange
        self.first_byte_s: float | None = None  # of the last exchange, like `body_s`
        self.body_s: float | None = None
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._reader = AnswerReader(bounds)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._sent_at = 0.0
        self._first_byte_at = 0.0
        self._deadline_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether another exchange may begin."""
        transport = self._transport
        return transport is not None and not (self.closed.done() or transport.is_closing())

    def exchange(self, head: bytes, body: bytes, deadline_at: float) -> asyncio.Future[Answer]:
        """Send a request; the future is its answer. Whoever cancels it must `abort`.

        It raises:
            Stale: It had served before and died; nothing of an answer was seen.
            DeliveryFault: There is no answer.
        """
        waiter = self._waiter = self._loop.create_future()
        self.is_reused = self.answers > 0
        self.first_byte_s = self.body_s = None
        self._reader.begin()
        self._arm(deadline_at)
        self._sent_at = monotonic()
        transport = self._transport
        if transport is None or not self.is_open:  # it died while nobody looked
            self._end(Stale() if self.is_reused else broken())
        else:
            transport.writelines((head, body))
        return waiter

    def abort(self) -> None:
        """Close at once, without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Go over to TLS and verify that the peer is `host`."""
        started_at = monotonic()
        raw = cast("asyncio.Transport", self._transport)
        try:
            secured = await self._loop.start_tls(raw, self, context, server_hostname=host)
        except OSError as error:
            raise DeliveryFault("tls", _explain_tls(error)) from None
        finally:
            self.tls_s = monotonic() - started_at
        if secured is None:
            raise DeliveryFault("tls", "the connection was closed during the handshake")
        self._transport = secured
        self.tls_version = secured.get_extra_info("ssl_object").version()

    def phases(self, dns_s: float | None = None) -> Phases:
        """Return the times of the last exchange; opening belongs to the first."""
        if self.is_reused:
            return Phases(dns_s, None, None, self.first_byte_s, self.body_s)
        return Phases(dns_s, self.connect_s, self.tls_s, self.first_byte_s, self.body_s)

    def peer(self) -> str:
        """Return the address at the other end, as the kernel knows it."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if name else self.address

    # The event loop calls what follows.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self.connect_s = monotonic() - self.opened_at

    def data_received(self, data: bytes) -> None:
        """Read on; a peer that talks out of turn is not kept."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.abort()
            return
        now = monotonic()
        if self.first_byte_s is None:
            self.first_byte_s = now - self._sent_at
            self._first_byte_at = now
        try:
            complete = self._reader.feed(data)
        except DeliveryFault as fault:
            self._fail(fault)
            return
        if complete:
            self._finish(waiter, self._reader.answer(), now)

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle the exchange by what was read so far."""
        if not self.closed.done():
            self.closed.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._reader.head_is_complete:
            self._finish(waiter, self._reader.end(cleanly=exc is None), monotonic())
        elif self.is_reused and not self._reader.fed_bytes:
            self._end(Stale())
        elif exc is not None:
            self._end(_broken_by(exc))
        elif not self._reader.fed_bytes:
            self._end(DeliveryFault("no_response", "closed without an answer"))
        else:
            self._end(DeliveryFault("protocol", "closed inside the answer's head"))

    def _finish(self, waiter: asyncio.Future[Answer], answer: Answer, now: float) -> None:
        self.body_s = now - self._first_byte_at
        self.answers += 1
        self._waiter = None
        transport = self._transport
        # Unsent bytes: it answered before it had read all of the request. The answer counts.
        if not answer.keep_alive or (transport and transport.get_write_buffer_size()):
            self.abort()
        waiter.set_result(answer)

    def _arm(self, deadline_at: float) -> None:
        """Have the loop call at the deadline, or before it.

        The timer of an earlier exchange is left to run and set anew when it fires: deadlines
        mostly come in order, so a busy connection needs one timer a deadline, not one a request.
        """
        self._deadline_at = deadline_at
        if self._timer is not None:
            if self._timer_at <= deadline_at:
                return
            self._timer.cancel()
        self._timer_at = deadline_at  # uvloop's handle for a time that has come does not say it
        self._timer = self._loop.call_at(deadline_at, self._on_timer, deadline_at)

    def _on_timer(self, set_for: float) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if set_for < self._deadline_at:
            self._arm(self._deadline_at)
        elif self._reader.head_is_complete:
            self._fail(DeliveryFault("timeout", "the answer's body did not end in time"))
        elif self._reader.fed_bytes:
            self._fail(DeliveryFault("timeout", "the answer's head did not arrive in time"))
        else:
            self._fail(DeliveryFault("timeout", "no answer in time"))

    def _fail(self, fault: DeliveryFault) -> None:
        self._end(fault)
        self.abort()

    def _end(self, fault: DeliveryFault | Stale) -> None:
        """End the exchange without an answer; the fault tells how far it came."""
        waiter, self._waiter = self._waiter, None
        if isinstance(fault, DeliveryFault):
            fault.address, fault.phases = self.address, self.phases()
        if waiter is not None and not waiter.done():
            waiter.set_exception(fault)


def broken() -> DeliveryFault:
    """Return the fault of a connection that was reset."""
    return DeliveryFault("reset", "the receiver broke the connection")


def _broken_by(error: Exception) -> DeliveryFault:
    """Say what broke a connection: by TLS 1.3 a client is judged when it has spoken already."""
    if isinstance(error, ssl.SSLError) and error.reason in _ALERTS:
        return DeliveryFault("tls", _explain_tls(error))
    return broken()


def _explain_tls(error: OSError) -> str:
    """Name the check that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_FAULTS.get(error.verify_code, error.verify_message)
    if isinstance(error, ssl.SSLError) and error.reason:
        if error.reason in _ALERTS:
            return _ALERTS[error.reason]
        return f"the handshake failed: {error.reason.lower().replace('_', ' ')}"
    return "the connection was closed during the handshake"
