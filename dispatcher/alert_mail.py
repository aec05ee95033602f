"""Tells apps of their endpoints by mail, what is due of an app in one; each by one dispatcher.

What is to be told was written in the transaction of it. It is claimed by moving on the time at
which it is due, so nothing of Postgres is held while a mail server thinks, and forgotten after the
server took the mail: a crash in between sends it again, under the same id.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from secrets import token_hex
from typing import Final, Protocol

from dispatcher.alert_text import compose
from dispatcher.mail import WHOLE_S, Result, Sent
from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema.mail import GIVE_UP, Reader, Trouble, read_addresses, wait_s
from schema.store import alert_mail as store
from schema.store.alert_mail import Due
from schema.store.link import Pool

EVERY_S: Final = 10.0
MOST: Final = 200  # of what is due, in a round
MOST_MAILS: Final = 20
CLAIM_S: Final = (MOST_MAILS + 5) * WHOLE_S
KEPT: Final = timedelta(days=7)  # so long it is known when something was told last
_log = logging.getLogger(__name__)


class Sends(Protocol):
    """Hands mails in: the dispatcher's `Mailer`."""

    async def send(self, message: EmailMessage) -> Sent:
        """Hand in one."""
        ...


class AlertMail:
    """Mails to apps."""

    def __init__(self, given: Parts, mailer: Sends, *, sender: str) -> None:
        """Send nothing yet; mails are from `sender`."""
        self._pool: Pool = given.pool
        self._clock: Callable[[], datetime] = given.clock
        self._dice: Callable[[], float] = given.dice
        self._mailer = mailer
        self._sender = sender
        self._pause_s = given.config.mail_pause_s
        self._count = given.metrics.mails

    async def run(self) -> None:
        """Tell what is due, for ever."""
        await rounds("mailing apps", self.once, pause_s=EVERY_S)

    async def once(self) -> bool:
        """Tell what is due, but stop where the server is away; tell whether there is more."""
        now = self._clock()
        until = now + timedelta(seconds=CLAIM_S)
        async with self._pool.acquire() as link:
            await store.prune(link, now - KEPT)
            dues = await store.claim(link, token_hex(8), now=now, until=until, most=MOST)
            about = await store.about(link, dues) if dues else {}
        if not dues:
            return False
        by_app = defaultdict[str, list[Due]](list)
        for due in dues:
            by_app[due.key.app_id].append(due)
        away = False
        for number, of_app in enumerate(by_app.values()):
            if number >= MOST_MAILS:
                await self._release(of_app)
            elif away:
                await self._delay(of_app)
            else:
                away = await self._tell(of_app, about)
        return not away and len(dues) >= MOST

    async def _tell(
        self, dues: Sequence[Due], about: Mapping[store.Key, tuple[Reader, Trouble]]
    ) -> bool:
        """Send an app its mail; tell whether the server is away."""
        known = [about[due.key] for due in dues if due.key in about]
        message = None
        if known:
            message = self._message(known[0][0], [trouble for _, trouble in known], dues)
        if message is None:  # nobody is to be told any more
            await self._forget(dues)
            return False
        sent = await self._mailer.send(message)
        if sent.result is Result.DELAYED:
            _log.warning("an app is not told by mail: %s", sent.why)
            await self._delay(dues)
            return True
        self._count.labels(sent.result).inc()
        async with self._pool.acquire() as link:
            await store.told(link, dues, self._clock(), pause_s=self._pause_s)
        return False

    async def _delay(self, dues: Sequence[Due]) -> None:
        """Try again later what was not told; what was not told for a day is given up."""
        now = self._clock()
        over = [due for due in dues if due.failing_since and now - due.failing_since >= GIVE_UP]
        if over:
            self._count.labels("given_up").inc()
            await self._forget(over)
        left = [due for due in dues if due not in over]
        if left:
            failures = max(due.failures for due in left) + 1
            again_at = now + timedelta(seconds=wait_s(failures, dice=self._dice()))
            self._count.labels(Result.DELAYED).inc()
            async with self._pool.acquire() as link:
                await store.delayed(link, left, now, again_at=again_at)

    async def _release(self, dues: Sequence[Due]) -> None:
        """Leave to the next round what there was no time for."""
        async with self._pool.acquire() as link:
            await store.release(link, dues, self._clock())

    async def _forget(self, dues: Sequence[Due]) -> None:
        async with self._pool.acquire() as link:
            await store.forget(link, dues)

    def _message(
        self, reader: Reader, troubles: Sequence[Trouble], dues: Sequence[Due]
    ) -> EmailMessage | None:
        try:
            addresses = read_addresses(reader.email)
        except ValueError:  # metadata may say anything
            return None
        letter = compose(reader, troubles)
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = ", ".join(addresses)
        message["Subject"] = letter.subject
        message["Date"] = format_datetime(self._clock())
        message["Message-ID"] = _ident(dues, self._sender)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        message.add_alternative(letter.html, subtype="html")
        return message


def _ident(dues: Sequence[Due], sender: str) -> str:
    """Make an id that is the same for the same things told again."""
    told = [f"{due.key}{due.since.isoformat()}{due.number}" for due in dues]
    return f"<{sha256(''.join(sorted(told)).encode()).hexdigest()[:32]}@{sender.partition('@')[2]}>"
