"""What the dispatcher knows of apps and endpoints: built once, kept until Postgres says otherwise.

`notify_changed()` in the migrations rings `hookline_changed` on any write to a configuration table.
A round trip on the listening connection (`sync`) brings every notification of a change that was
committed before it, so an endpoint counts for the first event published after its creation.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

import httpx

from dispatcher.config import DispatcherConfig
from dispatcher.transport import request_head
from schema import ids
from schema.address import EndpointUrl, UrlFault, check_url
from schema.endpoint import EndpointState, secret_context
from schema.event import Draft
from schema.retry import RetryPolicy
from schema.store import directory as store
from schema.store.link import Pool
from signer import secret
from signer.errors import SignerError
from signer.standard import Signer
from signer.vault import Vault

MAX_APPS: Final = 20_000  # in memory; the oldest goes first
OWN_HEADERS: Final = ((b"User-Agent", b"Hookline/0.1"), (b"Accept", b"*/*"))
MAX_UNKNOWN: Final = 10_000
_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Target:
    """An endpoint made ready for sending.

    Attributes:
        head: The request line and the headers that stay the same.
        fault: Why nothing can be sent although it should be: a URL that is not allowed any more,
            a secret that cannot be opened.
        stale_at: When a secret that signs now expires.
    """

    app_id: str
    id: str
    shard: int
    state: EndpointState
    url_text: str
    url: EndpointUrl | None
    head: bytes
    signer: Signer | None
    event_types: frozenset[str] | None
    channels: frozenset[str] | None
    retry_policy: RetryPolicy
    throttle_rate: int | None
    ordered: bool
    fault: str = ""
    stale_at: datetime | None = None

    def matches(self, event_type: str, channels: Sequence[str] | None) -> bool:
        """Tell whether a new message is for this endpoint."""
        if self.state is EndpointState.DISABLED:
            return False
        if self.event_types is not None and event_type not in self.event_types:
            return False
        if self.channels is None:
            return True
        return channels is not None and not self.channels.isdisjoint(channels)


@dataclass(slots=True, kw_only=True)
class Tenant:
    """An app with its targets by endpoint id."""

    id: str
    environment_id: str
    shard: int
    throttle_rate: int | None
    targets: dict[str, Target] = field(default_factory=dict)


class Directory:
    """Apps by id and by uid, in memory."""

    def __init__(self, *, pool: Pool, vault: Vault, config: DispatcherConfig, shards: int) -> None:
        """Know nothing yet."""
        self._pool = pool
        self._vault = vault
        self._config = config
        self._shards = shards
        self._tenants: dict[str, Tenant] = {}
        self._by_uid: dict[tuple[str | None, str], str] = {}
        self._unknown: set[tuple[str | None, str]] = set()
        self._changes = 0

    def tenant(self, app_id: str) -> Tenant | None:
        """Give an app, if it is in memory."""
        return self._tenants.get(app_id)

    def find(self, draft: Draft) -> Tenant | None:
        """Give the app that an event is for, if it is in memory."""
        app_id: str | None = draft.app
        if not ids.is_id(ids.APP, draft.app):
            app_id = self._by_uid.get((draft.environment, draft.app))
        tenant = self._tenants.get(app_id) if app_id is not None else None
        if tenant is None or draft.environment in (None, tenant.environment_id):
            return tenant
        return None

    async def learn(self, drafts: Iterable[Draft], now: datetime) -> None:
        """Bring the apps of these events into memory, those that exist."""
        missing = {(d.environment, d.app) for d in drafts if self.find(d) is None} - self._unknown
        if not missing:
            return
        uids = [key for key in missing if not ids.is_id(ids.APP, key[1])]
        app_ids = {app for _, app in missing if ids.is_id(ids.APP, app)}
        changes = self._changes
        if uids:
            async with self._pool.acquire() as link:
                found = await store.ids_by_uid(link, uids)
            self._by_uid.update(found)
            app_ids.update(found.values())
        known = await self.load(app_ids, now)
        if changes != self._changes:
            return
        unknown = {key for key in missing if self._by_uid.get(key, key[1]) not in known}
        if len(self._unknown) + len(unknown) > MAX_UNKNOWN:
            self._unknown.clear()
        self._unknown |= unknown

    async def load(self, app_ids: Iterable[str], now: datetime) -> dict[str, Tenant]:
        """Read apps anew; give those that exist."""
        wanted = list(app_ids)
        while wanted:
            changes = self._changes
            async with self._pool.acquire() as link:
                rows = await store.apps(link, wanted, now)
            if changes != self._changes:
                continue  # something changed while we read: what we hold may be older than that
            tenants = {row.id: self._tenant(row) for row in rows}
            for app_id in wanted:
                self._tenants.pop(app_id, None)
            self._tenants.update(tenants)
            self._forget_some()
            return tenants
        return {}

    def changed(self, table: str, key: str) -> set[str]:
        """Forget what a notification is about; give the ids of the apps that were in memory."""
        if table in ("api_key", "event_type"):
            return set()
        self._changes += 1
        self._unknown.clear()
        if table == "environment":
            apps = {t.id for t in self._tenants.values() if t.environment_id == key}
        else:
            apps = {key}
        return self._forget(apps)

    def forget_all(self) -> set[str]:
        """Forget everything: notifications may have been missed."""
        self._changes += 1
        self._unknown.clear()
        return self._forget(set(self._tenants))

    def expired(self, now: datetime) -> list[str]:
        """Give the apps of which a secret that still signs has expired."""
        return [
            tenant.id
            for tenant in self._tenants.values()
            for target in tenant.targets.values()
            if target.stale_at is not None and target.stale_at <= now
        ]

    def _forget(self, apps: set[str]) -> set[str]:
        for app_id in apps:
            self._tenants.pop(app_id, None)
        self._by_uid = {k: a for k, a in self._by_uid.items() if a not in apps}
        return apps

    def _forget_some(self) -> None:
        while len(self._tenants) > MAX_APPS:
            del self._tenants[next(iter(self._tenants))]

    def _tenant(self, row: store.AppRow) -> Tenant:
        shard = ids.shard_of(row.id, self._shards)
        policy = row.retry_policy or self._config.retry_policy
        return Tenant(
            id=row.id,
            environment_id=row.environment_id,
            shard=shard,
            throttle_rate=row.throttle_rate,
            targets={e.id: self._target(e, shard, policy) for e in row.endpoints},
        )

    def _target(self, row: store.EndpointRow, shard: int, policy: RetryPolicy) -> Target:
        faults: list[str] = []
        context = secret_context(row.app_id, row.id)
        url = _attempted(lambda: check_url(row.url, self._config.address_policy), faults)
        return Target(
            app_id=row.app_id,
            id=row.id,
            shard=shard,
            state=row.state,
            url_text=row.url,
            url=url,
            head=_attempted(lambda: self._head(row, url, context), faults) or b"",
            signer=_attempted(lambda: self._signer(row, context), faults),
            event_types=row.event_types,
            channels=row.channels,
            retry_policy=row.retry_policy or policy,
            throttle_rate=row.throttle_rate,
            ordered=row.ordered,
            fault="; ".join(faults),
            stale_at=min((at for _, at in row.secrets if at is not None), default=None),
        )

    def _head(self, row: store.EndpointRow, url: EndpointUrl | None, context: bytes) -> bytes:
        if url is None:
            return b""
        headers = list(OWN_HEADERS)
        if row.headers is not None:
            named: dict[str, str] = json.loads(self._vault.open(row.headers, context=context))
            headers += [(n.encode("ascii"), v.encode("latin-1")) for n, v in named.items()]
        return request_head(url, headers)

    def _signer(self, row: store.EndpointRow, context: bytes) -> Signer:
        texts = [self._vault.open(sealed, context=context).decode() for sealed, _ in row.secrets]
        return Signer([secret.parse(text) for text in texts])


def _attempted(make: Callable[[], _T], faults: list[str]) -> _T | None:
    """Make a part of a target; a part that cannot be made is noted, the rest still counts."""
    try:
        return make()
    except (UrlFault, SignerError, httpx.LocalProtocolError, ValueError) as error:
        faults.append(str(error))
        return None
