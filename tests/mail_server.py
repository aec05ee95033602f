"""A scriptable SMTP server on real sockets, for tests.

    async with MailServer() as server:
        server.script("RCPT", "550 no such user", "250 well")
        ...  # something hands mails to server.port
        (mail,) = server.mails

A verb is answered as scripted, the last answer from then on; `HANG` never answers, `DROP` closes
the connection. `BODY` stands for the end of a message, `DATA` for its beginning.
"""

import asyncio
import base64
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

from tests.listener import Listener

HANG, DROP = "hang", "drop"
USUAL = {"MAIL": "250 well", "RCPT": "250 well", "DATA": "354 go on", "BODY": "250 taken"}


@dataclass(slots=True)
class Mail:
    """What was handed in."""

    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    body: bytes = b""

    @property
    def message(self) -> EmailMessage:
        message = message_from_bytes(self.body, policy=SMTP)
        assert isinstance(message, EmailMessage)
        return message

    def text(self, kind: str = "plain") -> str:
        """Give a part of the message."""
        part = self.message.get_body((kind,))
        assert part is not None
        return str(part.get_content())


class MailServer(Listener):
    """Listens on a free port of the loopback and does as scripted."""

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, start_tls: ssl.SSLContext | None = None
    ) -> None:
        """With `tls` it speaks TLS from the start; with `start_tls` it offers to change over."""
        super().__init__(tls=tls)
        self.mails: list[Mail] = []
        self.seen: list[Mail] = []  # those that were not taken too
        self.verbs: list[str] = []  # as they came
        self.logins: list[tuple[str, str]] = []
        self.protected: list[bool] = []  # of each login, whether it was
        self._start_tls = start_tls
        self._scripts: dict[str, list[str]] = {}
        self._changed = asyncio.Condition()

    def script(self, verb: str, *answers: str) -> None:
        self._scripts[verb] = list(answers)

    async def wait_for(self, verb: str, within_s: float = 10.0) -> None:
        """Wait until a verb came."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: verb in self.verbs)

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, stream)
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            stream.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        await _say(stream, "220 ready")
        mail = Mail()
        while line := await reader.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            verb = verb.upper()
            await self._note(verb)
            if verb == "EHLO":
                await _say(stream, *self._abilities(stream))
            elif verb == "STARTTLS":
                await _say(stream, "220 go on")
                assert self._start_tls is not None
                await stream.start_tls(self._start_tls)
            elif verb == "AUTH":
                await self._log_in(stream, rest)
            elif verb in USUAL:
                if not await self._answer(verb, stream, reader):
                    return
                mail = await self._take(verb, rest, mail, reader, stream)
            else:
                await _say(stream, "221 bye" if verb == "QUIT" else "250 well")

    async def _take(
        self,
        verb: str,
        rest: str,
        mail: Mail,
        reader: asyncio.StreamReader,
        stream: asyncio.StreamWriter,
    ) -> Mail:
        """Take in what was answered well."""
        address = rest.partition("<")[2].partition(">")[0]
        if verb == "MAIL":
            return Mail(sender=address)
        if verb == "RCPT" and self._said[0] == "2":
            mail.recipients.append(address)
        if verb == "DATA" and self._said[0] == "3":
            mail.body = (await reader.readuntil(b"\r\n.\r\n"))[:-5].replace(b"\r\n..", b"\r\n.")
            self.seen.append(mail)
            await self._note("BODY")
            if await self._answer("BODY", stream, reader) and self._said[0] == "2":
                self.mails.append(mail)
        return mail

    async def _answer(
        self, verb: str, stream: asyncio.StreamWriter, reader: asyncio.StreamReader
    ) -> bool:
        """Answer as scripted; tell whether the conversation goes on."""
        left = self._scripts.get(verb, [USUAL[verb]])
        self._said = left.pop(0) if len(left) > 1 else left[0]
        if self._said == HANG:
            await reader.read()
            return False
        if self._said == DROP:
            stream.transport.abort()
            raise ConnectionResetError
        await _say(stream, self._said)
        return True

    async def _log_in(self, stream: asyncio.StreamWriter, rest: str) -> None:
        _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
        self.logins.append((user, password))
        self.protected.append(stream.get_extra_info("sslcontext") is not None)
        await _say(stream, "235 welcome" if password == "pa55" else "535 no")

    def _abilities(self, stream: asyncio.StreamWriter) -> list[str]:
        offers = self._start_tls is not None and stream.get_extra_info("sslcontext") is None
        return ["250-here", *(["250-STARTTLS"] if offers else []), "250 AUTH PLAIN"]

    async def _note(self, verb: str) -> None:
        async with self._changed:
            self.verbs.append(verb)
            self._changed.notify_all()


async def _say(stream: asyncio.StreamWriter, *lines: str) -> None:
    stream.write("".join(f"{line}\r\n" for line in lines).encode())
    await stream.drain()
