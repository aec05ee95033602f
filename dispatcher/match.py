"""What the dispatcher knows of apps and endpoints: built once, kept until Postgres says otherwise.

`notify_changed()` in the migrations rings `hookline_changed` on any write to a configuration table.
A round trip on the listening connection (`sync`) brings every notification of a change that was
committed before it, so an endpoint counts for the first event published after its creation.
"""

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

import httpx

from dispatcher.config import DispatcherConfig
from dispatcher.credentials import head_of, headers_of, oauth_of, signer_of, tls_of
from dispatcher.oauth import OauthClient
from dispatcher.tls import Tls
from dispatcher.type_policies import Policies, TypePolicies
from schema import ids
from schema.address import EndpointUrl, UrlFault, check_url
from schema.endpoint import EndpointState
from schema.retry import RetryPolicy
from schema.store import directory as store
from schema.store.link import Pool
from signer.errors import SignerError
from signer.standard import Signer
from signer.vault import Vault

MAX_APPS: Final = 20_000  # in memory; the oldest goes first
MAX_UNKNOWN: Final = 10_000
NO_POLICIES: Final[Policies] = MappingProxyType({})
APPS_PER_READ: Final = 500
# What an event names: an environment (None is the app's own, or the default one); an app id or uid.
AppKey: TypeAlias = tuple[str | None, str]
_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Target:
    """An endpoint made ready for sending.

    Attributes:
        head: The request line and the headers that stay the same.
        fault: Why nothing can be sent although it should be: a URL that is not allowed any more,
            a secret that cannot be opened.
        tls: What is particular about TLS.
        oauth: How access tokens are got, if requests have one.
        type_policies: Of event types, which count for more than `retry_policy`.
        stale_at: When a secret that signs now expires.
        transforms: Its owner has code make the request.
        own_headers: The endpoint's own, for whoever has to write the head anew.
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
    type_policies: Policies
    throttle_rate: int | None
    ordered: bool
    tls: Tls | None = None
    oauth: OauthClient | None = None
    fault: str = ""
    stale_at: datetime | None = None
    transforms: bool = False
    own_headers: Mapping[str, str] | None = None

    @property
    def way(self) -> tuple[object, ...]:
        """Say how the endpoint is reached: what failed by another way may go well by this."""
        key = None if self.tls is None else self.tls.key
        place = None if self.oauth is None else self.oauth.place
        return self.state, self.url_text, key, place

    def policy(self, event_type: str) -> RetryPolicy:
        """Say when messages of an event type are tried again."""
        return self.type_policies.get(event_type, self.retry_policy)

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


class _Watch:
    """What changed while something was read."""

    def __init__(self) -> None:
        self.apps: set[str] = set()
        self.any = False
        self.all = False

    def touched(self, app_id: str) -> bool:
        return self.all or app_id in self.apps


class Directory:
    """Apps by id and by uid, in memory."""

    def __init__(self, *, pool: Pool, vault: Vault, config: DispatcherConfig, shards: int) -> None:
        """Know nothing yet."""
        self._pool = pool
        self._vault = vault
        self._config = config
        self._shards = shards
        self._policies = TypePolicies(pool)
        self._tenants: dict[str, Tenant] = {}
        self._by_uid: dict[AppKey, str] = {}
        self._uids_of: dict[str, set[AppKey]] = {}
        self._unknown: set[AppKey] = set()
        self._watches: list[_Watch] = []

    def tenant(self, app_id: str) -> Tenant | None:
        """Give an app, if it is in memory."""
        return self._tenants.get(app_id)

    async def find(self, keys: AbstractSet[AppKey], now: datetime) -> dict[AppKey, Tenant]:
        """Give the apps that events name, those that exist; what is not in memory is read.

        What is given is as it was at the call, or newer.
        """
        found = {key: tenant for key in keys if (tenant := self._remembered(key)) is not None}
        missing = keys - found.keys() - self._unknown
        if missing:
            with self._watching() as watch:
                uids = await self._ids_by_uid([key for key in missing if not _names_id(key)])
                app_ids = {app for _, app in filter(_names_id, missing)} | set(uids.values())
                tenants = await self.load(app_ids, now)
            for key in missing:
                tenant = tenants.get(uids.get(key, key[1]))
                if tenant is not None and key[0] in (None, tenant.environment_id):
                    found[key] = tenant
            self._remember(uids, missing - found.keys(), watch)
        return found

    async def load(self, app_ids: Collection[str], now: datetime) -> dict[str, Tenant]:
        """Read apps anew; give those that exist. What changes meanwhile is not kept in memory."""
        wanted, loaded = list(app_ids), dict[str, Tenant]()
        for start in range(0, len(wanted), APPS_PER_READ):
            some = wanted[start : start + APPS_PER_READ]
            with self._watching() as watch:
                async with self._pool.acquire() as link:
                    rows = await store.apps(link, some, now)
                policies = await self._policies.of({row.environment_id for row in rows})
            tenants = {row.id: self._tenant(row, policies[row.environment_id]) for row in rows}
            for app_id in some:
                self._tenants.pop(app_id, None)
            self._tenants.update({i: t for i, t in tenants.items() if not watch.touched(i)})
            loaded |= tenants
        self._forget_some()
        return loaded

    def changed(self, table: str, key: str) -> set[str]:
        """Forget what a notification is about; give the ids of the apps that it may concern."""
        if table == "event_type":
            self._policies.changed(key)
        if table in ("api_key", "event_type", "revoked_token"):
            return set()
        self._unknown.clear()
        whole = table == "environment"
        apps = {t.id for t in self._tenants.values() if t.environment_id == key} if whole else {key}
        for watch in self._watches:
            watch.any = True
            watch.all |= whole
            watch.apps |= apps
        self._forget(apps)
        return apps

    def forget_all(self) -> set[str]:
        """Forget everything: notifications may have been missed."""
        self._policies.all_changed()
        self._unknown.clear()
        for watch in self._watches:
            watch.any = watch.all = True
        apps = set(self._tenants)
        self._tenants.clear()
        self._by_uid.clear()
        self._uids_of.clear()
        return apps

    async def keep_policies(self) -> None:
        """Read the policies of event types again when they change, for ever."""
        await self._policies.run()

    def expired(self, now: datetime) -> list[str]:
        """Give the apps of which a secret that still signs has expired."""
        return [
            tenant.id
            for tenant in self._tenants.values()
            for target in tenant.targets.values()
            if target.stale_at is not None and target.stale_at <= now
        ]

    @contextmanager
    def _watching(self) -> Iterator[_Watch]:
        watch = _Watch()
        self._watches.append(watch)
        try:
            yield watch
        finally:
            self._watches.remove(watch)

    def _remembered(self, key: AppKey) -> Tenant | None:
        environment, app = key
        app_id = app if _names_id(key) else self._by_uid.get(key, "")
        tenant = self._tenants.get(app_id)
        if tenant is None or environment in (None, tenant.environment_id):
            return tenant
        return None

    def _remember(
        self, uids: Mapping[AppKey, str], unknown: AbstractSet[AppKey], watch: _Watch
    ) -> None:
        for key, app_id in uids.items():
            if not watch.touched(app_id):
                self._by_uid[key] = app_id
                self._uids_of.setdefault(app_id, set()).add(key)
        if watch.any:
            return  # one of them may exist by now
        if len(self._unknown) + len(unknown) > MAX_UNKNOWN:
            self._unknown.clear()
        self._unknown |= unknown

    async def _ids_by_uid(self, keys: Sequence[AppKey]) -> dict[AppKey, str]:
        if not keys:
            return {}
        async with self._pool.acquire() as link:
            return await store.ids_by_uid(link, keys)

    def _forget(self, apps: Iterable[str]) -> None:
        for app_id in apps:
            self._tenants.pop(app_id, None)
            for key in self._uids_of.pop(app_id, ()):
                self._by_uid.pop(key, None)

    def _forget_some(self) -> None:
        while len(self._tenants) > MAX_APPS:
            self._forget([next(iter(self._tenants))])

    def _tenant(self, row: store.AppRow, policies: Policies) -> Tenant:
        shard = ids.shard_of(row.id, self._shards)
        policy = row.retry_policy or self._config.retry_policy
        by_type = NO_POLICIES if row.operational else policies
        return Tenant(
            id=row.id,
            environment_id=row.environment_id,
            shard=shard,
            throttle_rate=row.throttle_rate,
            targets={e.id: self._target(e, shard, policy, by_type) for e in row.endpoints},
        )

    def _target(
        self, row: store.EndpointRow, shard: int, policy: RetryPolicy, by_type: Policies
    ) -> Target:
        faults: list[str] = []
        policy_of_urls = self._config.address_policy
        url = _attempted(lambda: check_url(row.url, policy_of_urls), faults)
        tls = _attempted(lambda: tls_of(row, self._vault), faults)
        return Target(
            app_id=row.app_id,
            id=row.id,
            shard=shard,
            state=row.state,
            url_text=row.url,
            url=url,
            head=_attempted(lambda: head_of(row, url, self._vault), faults) or b"",
            signer=_attempted(lambda: signer_of(row, self._vault), faults),
            event_types=row.event_types,
            channels=row.channels,
            retry_policy=row.retry_policy or policy,
            type_policies=NO_POLICIES if row.retry_policy else by_type,
            throttle_rate=row.throttle_rate,
            ordered=row.ordered,
            tls=tls,
            oauth=_attempted(
                lambda: oauth_of(row, self._vault, policy_of_urls, url=url, tls=tls), faults
            ),
            fault="; ".join(faults),
            stale_at=min(
                (s.expires_at for s in row.secrets if s.expires_at is not None), default=None
            ),
            transforms=row.transforms,
            own_headers=_attempted(lambda: headers_of(row, self._vault), faults)
            if row.transforms
            else None,
        )


def _names_id(key: AppKey) -> bool:
    return ids.is_id(ids.APP, key[1])


def _attempted(make: Callable[[], _T], faults: list[str]) -> _T | None:
    """Make a part of a target; a part that cannot be made is noted, the rest still counts."""
    try:
        return make()
    except (UrlFault, SignerError, httpx.LocalProtocolError, ValueError) as error:
        faults.append(str(error))
        return None
