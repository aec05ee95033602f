"""What a dispatcher must know of apps and endpoints to fan out and to send."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from asyncpg import Record

from schema.endpoint import EndpointState, SealedSecret
from schema.operational import UNNAMED
from schema.retry import RetryPolicy, read_policy
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("directory")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRow:
    """An endpoint as it is stored, with its secrets, the current one first.

    Attributes:
        authorities: Certificates as PEM.
        identity: A private key and certificates, sealed.
        oauth: The version of its OAuth configuration, and that, sealed.
    """

    app_id: str
    id: str
    url: str
    event_types: frozenset[str] | None
    channels: frozenset[str] | None
    headers: bytes | None
    throttle_rate: int | None
    retry_policy: RetryPolicy | None
    ordered: bool
    state: EndpointState
    secrets: tuple[SealedSecret, ...]
    authorities: bytes | None
    identity: bytes | None
    oauth: tuple[int, bytes] | None
    transforms: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRow:
    """An app with its endpoints; `retry_policy` is its own or its environment's.

    `operational`: it is where operators are told, and knows none of the environment's event types.
    """

    id: str
    environment_id: str
    throttle_rate: int | None
    retry_policy: RetryPolicy | None
    operational: bool
    endpoints: tuple[EndpointRow, ...]


async def apps(link: Link, app_ids: Sequence[str], now: datetime) -> list[AppRow]:
    """Read apps; those that are deleted are not in the answer."""
    rows = await link.fetch(_SQL["apps_by_id"], app_ids)
    operational = {row["id"] for row in rows if row["kind"] == "operational"}
    sealed: dict[tuple[str, str], list[SealedSecret]] = {}
    for row in await link.fetch(_SQL["secrets"], app_ids, now):
        key = (row["app_id"], row["endpoint_id"])
        sealed.setdefault(key, []).append(_secret(row))
    endpoints: dict[str, list[EndpointRow]] = {}
    for row in await link.fetch(_SQL["endpoints"], app_ids):
        secrets = sealed.get((row["app_id"], row["id"]), ())
        endpoints.setdefault(row["app_id"], []).append(
            EndpointRow(
                app_id=row["app_id"],
                id=row["id"],
                url=row["url"],
                event_types=_heard(row, operational=row["app_id"] in operational),
                channels=_set(row["channels"]),
                headers=row["headers"],
                throttle_rate=row["throttle_rate"],
                retry_policy=_policy(row["retry_policy"]),
                ordered=row["ordered"],
                state=EndpointState(row["state"]),
                secrets=tuple(secrets),
                authorities=row["authorities"],
                identity=row["identity"],
                oauth=_oauth(row),
                transforms=row["transforms"],
            )
        )
    return [
        AppRow(
            id=row["id"],
            environment_id=row["environment_id"],
            throttle_rate=row["throttle_rate"],
            retry_policy=_policy(row["retry_policy"]) or _policy(row["environment_retry_policy"]),
            operational=row["id"] in operational,
            endpoints=tuple(endpoints.get(row["id"], ())),
        )
        for row in rows
    ]


async def ids_by_uid(
    link: Link, wanted: Sequence[tuple[str | None, str]]
) -> dict[tuple[str | None, str], str]:
    """Find apps by (environment or None for the default one, uid)."""
    rows = await link.fetch(_SQL["ids_by_uid"], [w[0] for w in wanted], [w[1] for w in wanted])
    return {(row["asked_environment"], row["uid"]): row["id"] for row in rows}


def _secret(row: Record) -> SealedSecret:
    return SealedSecret(
        id=row["id"],
        kind=row["kind"],
        sealed=row["sealed"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _oauth(row: Record) -> tuple[int, bytes] | None:
    config = row["oauth_config"]
    return None if config is None else (row["oauth_version"], config)


def _heard(row: Record, *, operational: bool) -> frozenset[str] | None:
    """Give the event types that an endpoint hears of, None for all of them."""
    if operational and row["event_types"] is None:
        return UNNAMED
    return _set(row["event_types"])


def _set(values: list[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def _policy(stored: object) -> RetryPolicy | None:
    """Read a policy; one that somebody else wrote and that is nonsense counts as none."""
    try:
        return None if stored is None else read_policy(stored)
    except ValueError as error:
        _log.warning("a stored retry policy cannot be read: %s", error)
        return None
