"""Access tokens for endpoints: asked for, kept until shortly before their end, dropped on a 401.

However many attempts wait for an endpoint's token, one request is made for it. A request that
failed is not made again at once: until then there is no token, and the attempt says how long that
is. A refresh token that came with one is written down before the token is used; where it cannot be,
it is kept and written as soon as Postgres is there. Times are seconds of the loop's clock.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, NamedTuple

from dispatcher.fault import DeliveryFault, FaultKind
from dispatcher.guard import Guard
from dispatcher.oauth import Granted, OauthClient, no_token, read, request
from dispatcher.parts import Parts
from dispatcher.post import Post, Posts
from dispatcher.reach import when_reachable
from schema.delivery import is_success
from schema.endpoint import secret_context
from schema.errors import Unavailable
from schema.oauth import REFRESH_CONTEXT, GrantType
from schema.store import endpoint_oauth as store
from schema.store.endpoint_oauth import Place, Refresh
from schema.store.pool import reachable
from signer.errors import SignerError

MAX_KEPT: Final = 10_000  # endpoints; those that were used longest ago are forgotten
TIMEOUT_S: Final = 10.0  # of a request; half of what an attempt may take, if that is less
GAP_S: Final = 1.0  # behind a request that failed; doubled with each that follows
GAP_MOST_S: Final = 60.0
POSTGRES_S: Final = 5.0  # that an attempt waits for a refresh token to be read or written
_UNAUTHORIZED: Final = 401
_log = logging.getLogger(__name__)


class Token(NamedTuple):
    """A token that may be used."""

    line: bytes
    asked_at: float
    good_until: float


class _Refusal(NamedTuple):
    """Why there is no token, and until when it is not asked for one."""

    kind: FaultKind
    detail: str
    until: float


@dataclass(slots=True)
class _Entry:
    """What is known of an endpoint's token.

    Attributes:
        faults: Requests in a row that failed.
        refused: Tokens in a row that the endpoint did not take.
    """

    version: int
    token: Token | None = None
    refusal: _Refusal | None = None
    asking: "asyncio.Task[None] | None" = None
    faults: int = 0
    refused: int = 0


class Tokens:
    """The access tokens of one dispatcher."""

    def __init__(self, given: Parts, *, guard: Guard, transport: Posts) -> None:
        """Have no token; nothing is asked for before `run`."""
        self._given = given
        self._guard = guard
        self._transport = transport
        self._timeout_s = min(TIMEOUT_S, given.config.request_timeout_s / 2)
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup | None = None
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._unwritten: dict[Place, Refresh] = {}
        self._some_unwritten = asyncio.Event()
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Ask for tokens, for ever. When cancelled, requests under way are given up."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    await self._some_unwritten.wait()
                    self._some_unwritten.clear()
                    if not await when_reachable(self._write) and self._unwritten:
                        self._some_unwritten.set()
            finally:
                self._group = None

    async def get(self, client: OauthClient, until: float) -> Token:
        """Give a token, at once if there is one.

        Raises:
            DeliveryFault: There is none; `retry_after_s` says when it is asked for again.
        """
        entry = self._entry(client.place)
        token = self._present(entry)
        if token is not None:
            return token
        if entry.asking is None:
            self._check(entry)
            if self._group is None:
                raise no_token("the dispatcher is stopping")
            entry.asking = self._group.create_task(self._ask(client, entry))
        within_s = until - self._loop.time()
        await asyncio.wait((entry.asking,), timeout=within_s)  # if we are cancelled, it is not
        token = entry.token
        if token is None or entry.asking is not None:
            self._check(entry)
            raise no_token("there was none in time")
        return token

    def answered(self, client: OauthClient, token: Token, status: int) -> None:
        """Note what the endpoint said to a token; one that it does not take is used no more.

        Unless it takes none at all: then new ones are asked for less and less often.
        """
        entry = self._entries.get(client.place[:2])
        if entry is None or entry.token is not token:
            return
        if status != _UNAUTHORIZED:
            if is_success(status):
                entry.refused = 0
            return
        if self._loop.time() - token.asked_at >= _gap_s(entry.refused):
            entry.token = None
            entry.refused += 1

    def _entry(self, place: Place) -> _Entry:
        """Give what is known; of a configuration that was set anew, nothing is."""
        key = place[:2]
        entry = self._entries.get(key)
        if entry is not None and entry.version > place.version:
            return _Entry(version=place.version)  # for an attempt that began before the change
        if entry is None or entry.version < place.version:
            entry = self._entries[key] = _Entry(version=place.version)
            if len(self._entries) > MAX_KEPT:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return entry

    def _present(self, entry: _Entry) -> Token | None:
        token = entry.token
        return token if token is not None and self._loop.time() < token.good_until else None

    def _check(self, entry: _Entry) -> None:
        """Raise why there is no token, if it is not to be asked for now."""
        refusal, now = entry.refusal, self._loop.time()
        if refusal is not None and now < refusal.until:
            fault = DeliveryFault(refusal.kind, refusal.detail)
            fault.retry_after_s = refusal.until - now
            raise fault

    async def _ask(self, client: OauthClient, entry: _Entry) -> None:
        """Find out whether there is a token, once for all who wait."""
        asked_at = self._loop.time()
        try:
            granted = await self._granted(client)
        except DeliveryFault as fault:
            self._refuse(entry, fault)
        except Exception:  # noqa: BLE001 a fault of ours must not end all the others
            _log.exception("asking for an access token failed on our side")
            self._refuse(entry, DeliveryFault("internal", "internal error: no access token"))
        else:
            entry.token = Token(granted.line, asked_at, asked_at + granted.lives_s)
            entry.refusal, entry.faults = None, 0
            self._given.metrics.tokens.labels("granted").inc()
        finally:
            entry.asking = None

    def _refuse(self, entry: _Entry, fault: DeliveryFault) -> None:
        gap_s = _gap_s(entry.faults + 1) * (1 + self._given.dice() / 10)
        wait_s = max(gap_s, min(fault.retry_after_s or 0.0, GAP_MOST_S))
        entry.token = None
        entry.faults += 1
        entry.refusal = _Refusal(fault.kind, fault.detail, self._loop.time() + wait_s)
        self._given.metrics.tokens.labels("refused").inc()

    async def _granted(self, client: OauthClient) -> Granted:
        """Ask for a token; what it is to be asked for with next is written when this returns."""
        if client.config.grant_type is not GrantType.REFRESH_TOKEN:
            return await self._request(client, None)
        place = client.place
        former = await self._refresh(place)
        text = self._opened(place, former)
        granted = await self._request(client, text)
        if granted.refresh_token not in {None, text}:
            await self._rotate(place, former, granted.refresh_token or "")
        return granted

    async def _request(self, client: OauthClient, refresh_token: str | None) -> Granted:
        url = client.url
        if url is None:
            raise no_token(client.fault)
        now_s = int(self._given.clock().timestamp())
        head, body = request(client, url, refresh_token, ident=token_hex(16), now_s=now_s)
        began_at = self._loop.time()
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._guard.addresses(url, client.place.app_id)
            within_s = self._timeout_s - (self._loop.time() - began_at)
            post = Post(url, addresses, within_s, head, body, tls=client.tls)
            reply = await self._transport.post(post)
        except TimeoutError:
            raise no_token("the authorization server's name was not resolved in time") from None
        except DeliveryFault as fault:
            if fault.kind == "proxy":
                raise
            raise no_token(f"the authorization server: {fault.detail}") from None
        return read(reply)

    async def _refresh(self, place: Place) -> Refresh:
        """Give the newest refresh token: whoever had the shard before may have got it.

        Only what is written is used, so that none is lost that the next depends on.
        """
        try:
            async with reachable(), asyncio.timeout(POSTGRES_S):
                await self._write_one(place)
                async with self._given.pool.acquire() as link:
                    found = await store.refresh_token(link, place)
        except Unavailable:
            raise DeliveryFault("internal", "the refresh token cannot be read now") from None
        if found is None:
            raise no_token("the configuration has changed meanwhile")
        return found

    def _opened(self, place: Place, refresh: Refresh) -> str:
        try:
            return self._given.vault.open(refresh.sealed, context=_context(place)).decode()
        except SignerError as error:
            raise DeliveryFault("internal", str(error)) from None

    async def _rotate(self, place: Place, former: Refresh, text: str) -> None:
        """Write a refresh token down; the one before may count no more."""
        sealed = self._given.vault.seal(text.encode(), context=_context(place))
        self._unwritten[place] = Refresh(sealed, former.rotation)
        try:
            async with reachable(), asyncio.timeout(POSTGRES_S):
                await self._write_one(place)
        except Unavailable:
            self._some_unwritten.set()

    async def _write(self) -> None:
        for place in list(self._unwritten):
            await self._write_one(place)

    async def _write_one(self, place: Place) -> None:
        async with self._writing:
            refresh = self._unwritten.get(place)
            if refresh is None:
                return
            async with self._given.pool.acquire() as link:
                if not await store.rotate(link, place, refresh):
                    _log.info("a refresh token came too late: another one counts")
            del self._unwritten[place]


def _gap_s(times: int) -> float:
    """Say how long to wait after so many times in a row; not at all after none."""
    return min(GAP_S * 2.0 ** (times - 1), GAP_MOST_S) if times else 0.0


def _context(place: Place) -> bytes:
    return secret_context(place.app_id, place.endpoint_id, REFRESH_CONTEXT)
