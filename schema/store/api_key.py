"""API keys."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from schema.api_key import ApiKey, KeyKind
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("api_key")


async def find(link: Link, digest: bytes) -> ApiKey | None:
    """Find a key by its hash, if its environment is not deleted. It may have ended."""
    return _noun_or_none(await link.fetchrow(_SQL["by_hash"], digest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose keys are meant: the operators' of an environment, an app's own, or of another kind."""

    environment_id: str
    app_id: str | None = None
    other_kind: KeyKind | None = None

    @property
    def values(self) -> tuple[str, str]:
        """Give both as the statements take them."""
        return self.environment_id, self.app_id or ""

    @property
    def kind(self) -> KeyKind:
        """Say of which kind the owner's keys are."""
        if self.other_kind is not None:
            return self.other_kind
        return KeyKind.OPERATOR if self.app_id is None else KeyKind.APP


async def find_of(link: Link, owner: Owner, key_id: str) -> ApiKey | None:
    """Find a key of an owner by its id."""
    return await _by_id(link, "by_id", owner, key_id)


async def lock_of(link: Link, owner: Owner, key_id: str) -> ApiKey | None:
    """Find a key of an owner and keep others from changing it until the transaction ends."""
    return await _by_id(link, "lock", owner, key_id)


async def page(
    link: Link, owner: Owner, *, bound: str, up: bool, limit: int, now: datetime
) -> list[ApiKey]:
    """Give up to `limit` keys of an owner that count, in the direction of the scan."""
    rows = await link.fetch(
        _SQL["page_up" if up else "page_down"], *owner.values, owner.kind, bound, limit, now
    )
    return [_noun(row) for row in rows]


async def list_all(link: Link) -> list[ApiKey]:
    """Give every key there ever was, oldest first."""
    return [_noun(row) for row in await link.fetch(_SQL["list_all"])]


async def create(link: Link, key: ApiKey, digest: bytes) -> None:
    """Write a new key.

    Args:
        link: A connection.
        key: The key without its text.
        digest: The hash of its text.
    """
    await link.execute(
        _SQL["insert"],
        key.id,
        key.environment_id,
        key.app_id,
        key.kind,
        key.name,
        digest,
        key.hint,
        key.scopes,
        key.session_id,
        key.created_at,
        key.expires_at,
        key.capabilities,
        key.feature_flags,
        key.integration_id,
        key.poller_id,
        key.endpoint_id,
    )


async def update(link: Link, key: ApiKey) -> None:
    """Write what may change: name, scopes, end."""
    await link.execute(_SQL["update"], key.id, key.name, key.scopes, key.expires_at)


async def exchange(
    link: Link, key_id: str, *, former: bytes, digest: bytes, hint: str, at: datetime
) -> bool:
    """Give a key that counts another text; tell whether it still had the former one.

    Args:
        link: A connection.
        key_id: The key.
        former: The hash of its text.
        digest: The hash of its text from now on.
        hint: Of that.
        at: Now.
    """
    found = await link.fetchval(_SQL["exchange"], key_id, former, digest, at, hint)
    return found is not None


async def revoke(link: Link, key_id: str, at: datetime) -> bool:
    """Revoke a key; tell whether there is one with this id."""
    return await link.fetchval(_SQL["revoke"], key_id, at) is not None


async def revoke_of_app(link: Link, environment_id: str, app_id: str, at: datetime) -> None:
    """Revoke all keys of an app."""
    await link.execute(_SQL["revoke_of_app"], environment_id, app_id, at)


async def end_portal(
    link: Link, owner: Owner, at: datetime, sessions: Collection[str] | None
) -> None:
    """Let portals' keys of an app end at a time, unless they do before; None is all sessions."""
    wanted = None if sessions is None else list(sessions)
    await link.execute(_SQL["end_portal"], *owner.values, at, wanted)


async def revoke_of_integration(
    link: Link, owner: Owner, integration_id: str, at: datetime
) -> None:
    """Revoke the key of an integration of an app."""
    await link.execute(_SQL["revoke_of_integration"], *owner.values, integration_id, at)


async def flag_integration(
    link: Link, owner: Owner, integration_id: str, flags: Collection[str]
) -> None:
    """Give the key of an integration other feature flags."""
    await link.execute(_SQL["flag_integration"], *owner.values, integration_id, list(flags))


async def of_poller(link: Link, owner: Owner, poller_id: str, now: datetime) -> ApiKey | None:
    """Find the newest key of a poller of an app that counts."""
    return _noun_or_none(await link.fetchrow(_SQL["of_poller"], *owner.values, poller_id, now))


async def end_of_poller(link: Link, owner: Owner, poller_id: str, at: datetime) -> None:
    """Let the keys of a poller of an app end at a time, unless they do before."""
    await link.execute(_SQL["end_of_poller"], *owner.values, poller_id, at)


async def of_endpoint(link: Link, owner: Owner, endpoint_id: str) -> ApiKey | None:
    """Find the key that configures an endpoint of an app."""
    return _noun_or_none(await link.fetchrow(_SQL["of_endpoint"], *owner.values, endpoint_id))


async def revoke_of_endpoint(link: Link, owner: Owner, endpoint_id: str, at: datetime) -> None:
    """Revoke the keys that configure an endpoint of an app."""
    await link.execute(_SQL["revoke_of_endpoint"], *owner.values, endpoint_id, at)


async def touch(link: Link, used: Mapping[str, datetime]) -> None:
    """Write down when keys (by id) were used."""
    await link.execute(_SQL["touch"], list(used), list(used.values()))


async def _by_id(link: Link, name: str, owner: Owner, key_id: str) -> ApiKey | None:
    environment_id, app_id = owner.values
    row = await link.fetchrow(_SQL[name], environment_id, key_id, app_id, owner.kind)
    return _noun_or_none(row)


def _noun_or_none(row: "asyncpg.Record | None") -> ApiKey | None:
    return None if row is None else _noun(row)


def _noun(row: "asyncpg.Record") -> ApiKey:
    capabilities = row["capabilities"]
    return ApiKey(
        id=row["id"],
        environment_id=row["environment_id"],
        app_id=row["app_id"],
        kind=KeyKind(row["kind"]),
        name=row["name"],
        hint=row["hint"],
        scopes=tuple(row["scopes"]),
        session_id=row["session_id"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        capabilities=None if capabilities is None else tuple(capabilities),
        feature_flags=tuple(row["feature_flags"]),
        integration_id=row["integration_id"],
        poller_id=row["poller_id"],
        endpoint_id=row["endpoint_id"],
    )
