"""Sends mails by the operator's SMTP server. Durations are seconds.

A mail may arrive twice: a server that goes away before it said that it has one may have it.
"""

import asyncio
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import aiosmtplib

from schema.mail import read_addresses

TIMEOUT_S: Final = 20.0
WHOLE_S: Final = 60.0
_PORTS: Final = {"smtp": 25, "starttls": 587, "smtps": 465}
_PERMANENT: Final = 500  # replies from here on say that the same would be refused again
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FORM: Final = "smtp://, starttls:// or smtps:// and user:password@host:port"


class Result(StrEnum):
    """What became of a mail; the words are a metric's labels too."""

    SENT = "sent"
    REFUSED = "refused"  # this one, for good
    DELAYED = "delayed"  # the server is away, or takes nothing now


class Sent(NamedTuple):
    """What became of a mail, and why."""

    result: Result
    why: str = ""


class _Unprotected(Exception):
    """The password would go out in the clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mails are handed in, and whom they are from."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str | None
    sender: str

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"<MailServer {self.scheme}://{self.host}:{self.port}>"


def read_server(url: str, *, sender: str = "") -> MailServer:
    """Read the address of an SMTP server.

    `smtps` speaks TLS from the start, `starttls` must change over to it, `smtp` does if it can.

    Args:
        url: With user and password, percent-encoded, if the server wants them.
        sender: The address that mails are from, as `read_sender` gave it.

    Raises:
        ValueError: Worded to follow "must be".
    """
    try:
        parsed = urlsplit(url)
        port = parsed.port
    except ValueError:
        raise ValueError(_FORM) from None
    rest = parsed.path.rstrip("/") or parsed.query or parsed.fragment
    if parsed.scheme not in _PORTS or not parsed.hostname or rest:
        raise ValueError(_FORM)
    return MailServer(
        scheme=parsed.scheme,
        host=parsed.hostname,
        port=port or _PORTS[parsed.scheme],
        user=None if parsed.username is None else unquote(parsed.username),
        password=None if parsed.password is None else unquote(parsed.password),
        sender=sender,
    )


def read_sender(text: str) -> str:
    """Read the address that mails are from.

    Raises:
        ValueError: Worded to follow "must be".
    """
    try:
        (sender,) = read_addresses(text)
    except ValueError:
        raise ValueError("an address such as hooks@example.com") from None
    return sender


class Mailer:
    """Hands mails to one server."""

    def __init__(
        self,
        server: MailServer,
        *,
        tls: ssl.SSLContext,
        timeout_s: float = TIMEOUT_S,
        whole_s: float = WHOLE_S,
    ) -> None:
        """Connect to nobody yet.

        Args:
            server: Which.
            tls: What verifies it.
            timeout_s: For each step.
            whole_s: For a mail, connection included.
        """
        self._timeout_s = timeout_s
        self._whole_s = whole_s
        self._server = server
        self._tls = tls

    async def send(self, message: EmailMessage) -> Sent:
        """Hand in one mail, by a connection of its own. Never raises for what the server does."""
        client = self._client()
        try:
            async with asyncio.timeout(self._whole_s):
                await self._connect(client)
                await client.send_message(message, sender=self._server.sender)
        except aiosmtplib.SMTPRecipientsRefused as refused:
            codes = [one.code for one in refused.recipients]
            for_good = min(codes, default=0) >= _PERMANENT
            return Sent(Result.REFUSED if for_good else Result.DELAYED, "no recipient is taken")
        except aiosmtplib.SMTPDataError as error:
            for_good = error.code >= _PERMANENT
            return Sent(Result.REFUSED if for_good else Result.DELAYED, _said(error))
        except (aiosmtplib.SMTPException, OSError, ValueError, _Unprotected) as error:
            return Sent(Result.DELAYED, _said(error))
        finally:
            client.close()
        return Sent(Result.SENT)

    def _client(self) -> aiosmtplib.SMTP:
        server = self._server
        start_tls = {"smtps": False, "starttls": True, "smtp": None}[server.scheme]
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            local_hostname=server.sender.partition("@")[2],
            timeout=self._timeout_s,
            use_tls=server.scheme == "smtps",
            start_tls=start_tls,
            tls_context=self._tls,
        )

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        await client.connect()
        server = self._server
        if server.user is None:
            return
        is_open = client.get_transport_info("sslcontext") is None
        if is_open and server.host not in _HERE:
            raise _Unprotected("the server offers no TLS, and a password is not sent without")
        await client.login(server.user, server.password or "")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
