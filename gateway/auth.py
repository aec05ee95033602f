"""Who calls, what they may do, and which app they mean.

`Authorization: Bearer hk_...`, or a token of Svix's. Behind a key of scope `*` may stand
`|<environment id>`, which selects the environment to act in; without it a key acts in its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from starlette.requests import Request

from gateway.appbook import KIND
from gateway.parts import Parts, parts
from schema.api_key import ApiKey, Capability, KeyKind, allows
from schema.app import App
from schema.errors import Forbidden, NotFound, Unauthenticated
from schema.scope import ALL_SCOPES

_HEADER: Final = b"authorization"
_SCHEME: Final = b"bearer "
_LENT_APP: Final = "hookline.app"


class Access(Enum):
    """Which callers an operation takes."""

    TENANT = "tenant"  # any key; those of an app within that app
    READER = "reader"  # those, and a poller's key for that poller
    SUBSCRIBER = "subscriber"  # those, and the key that configures this endpoint
    SERVICE = "service"  # keys that a product holds: operators', and an app's own
    PORTAL = "portal"  # keys of portals
    PUBLISHER = "publisher"  # operators' keys, and those of an app that publish alone
    OPERATOR = "operator"  # operator keys of the environment
    INSTALLATION = "installation"  # operator keys of every environment, and group admins'
    OWNER = "owner"  # operator keys of every environment


_OPERATORS: Final = frozenset({KeyKind.OPERATOR})
_TENANTS: Final = _OPERATORS | {KeyKind.APP, KeyKind.PORTAL, KeyKind.INTEGRATION}
_KINDS: Final[Mapping[Access, frozenset[KeyKind]]] = {
    Access.TENANT: _TENANTS,
    Access.READER: _TENANTS | {KeyKind.POLLER},
    Access.SUBSCRIBER: _TENANTS | {KeyKind.AUTO_CONFIG},
    Access.SERVICE: _OPERATORS | {KeyKind.APP},
    Access.PORTAL: frozenset({KeyKind.PORTAL}),
    Access.PUBLISHER: _OPERATORS | {KeyKind.APP},
    Access.OPERATOR: _OPERATORS,
    Access.INSTALLATION: _OPERATORS,
    Access.OWNER: _OPERATORS,
}
# What may be for group admins, if it is not downstream of an app.
_OF_GROUP_ADMINS: Final = frozenset({Access.TENANT, Access.OPERATOR, Access.INSTALLATION})
_EVERYWHERE: Final = frozenset({Access.INSTALLATION, Access.OWNER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Whom an operation lets pass.

    Attributes:
        access: Whose keys it takes.
        needed: What a portal's key must hold.
        scopes: Of these a key that has any must have one; the narrowest stands first.
        of_app: Whether it is downstream of an app, which group admins do not reach.
    """

    access: Access
    needed: Capability
    scopes: Sequence[str]
    of_app: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The holder of a key that counts, acting in one environment.

    Attributes:
        app_id: The only app there is for this caller; None for operators.
        scopes: What alone the caller may do; none is all that keys of this kind may.
        capabilities: What the caller may do within that app; None is everything.
        feature_flags: Which flagged event types there are for this caller; None is all.
        expires_at: When the key ends; None is never.
        poller_id: The only poller there is for this caller; None is all of the app.
        endpoint_id: The only endpoint there is for this caller; None is all of the app.
    """

    environment_id: str
    app_id: str | None
    kind: KeyKind
    key_id: str
    scopes: tuple[str, ...]
    session_id: str | None = None
    capabilities: tuple[str, ...] | None = None
    feature_flags: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    poller_id: str | None = None
    endpoint_id: str | None = None


async def authenticate(request: Request) -> Caller:
    """Find out who calls.

    Raises:
        Unauthenticated: There is no key, or one that does not count (any more).
        BadState: It is a token of Svix's that stands for nobody.
    """
    # By hand: this runs for every request, and `request.headers` costs ten times as much.
    header = next((value for name, value in request.scope["headers"] if name == _HEADER), b"")
    if header[: len(_SCHEME)].lower() != _SCHEME:
        raise Unauthenticated("Send your key in the header: Authorization: Bearer <key>.")
    text, _, environment_id = header[len(_SCHEME) :].decode("latin-1").strip().partition("|")
    given = parts(request)
    key = await given.keys.find(text)
    if environment_id and environment_id != key.environment_id:
        await _check_environment(given, key, environment_id)
    return Caller(
        environment_id=environment_id or key.environment_id,
        app_id=key.app_id,
        kind=key.kind,
        key_id=key.id,
        scopes=key.scopes,
        session_id=key.session_id,
        capabilities=key.capabilities,
        feature_flags=None if key.app_id is None else key.feature_flags,
        expires_at=key.expires_at,
        poller_id=key.poller_id,
        endpoint_id=key.endpoint_id,
    )


def admit(caller: Caller, gate: Gate) -> None:
    """Let a caller pass or not.

    Raises:
        Forbidden: The key may not do this.
    """
    if caller.kind is KeyKind.GROUP_ADMIN:
        if gate.of_app or gate.access not in _OF_GROUP_ADMINS:
            raise Forbidden
    elif caller.kind not in _KINDS[gate.access]:
        raise Forbidden
    if not _in_scope(caller, gate):
        raise Forbidden(f"This key lacks the scope {gate.scopes[0]}.")
    if not allows(caller.capabilities, gate.needed):
        raise Forbidden(f"This key lacks the capability {gate.needed}.")


def need_scope(caller: Caller, scope: str) -> None:
    """Let a caller do what an operation does besides, or not.

    Raises:
        Forbidden: The key has scopes, and not this one.
    """
    if caller.scopes and ALL_SCOPES not in caller.scopes and scope not in caller.scopes:
        raise Forbidden(f"This key lacks the scope {scope}.")


def lend_app(request: Request, app: App) -> None:
    """Say which app a request is about whose path names none."""
    request.scope[_LENT_APP] = app


def names_app(request: Request) -> bool:
    """Tell whether a request is about one app."""
    return "app_id" in request.path_params or _LENT_APP in request.scope


async def resolve_app(request: Request, caller: Caller) -> App:
    """Find the app that a path names, by its id or uid; or give the one that was lent.

    Raises:
        NotFound: The caller's environment has none such, or it is not the caller's own.
    """
    lent: App | None = request.scope.get(_LENT_APP)
    if lent is not None:
        return lent
    app = await parts(request).apps.find(caller.environment_id, request.path_params["app_id"])
    if caller.app_id is not None and caller.app_id != app.id:
        raise NotFound(KIND)
    return app


def _in_scope(caller: Caller, gate: Gate) -> bool:
    held = caller.scopes
    if not held:  # what needs to be said expressly: to act everywhere, and an app's to publish
        publishes = gate.access is Access.PUBLISHER and caller.kind is KeyKind.APP
        return gate.access not in _EVERYWHERE and not publishes
    return ALL_SCOPES in held or any(scope in held for scope in gate.scopes)


async def _check_environment(given: Parts, key: ApiKey, environment_id: str) -> None:
    if ALL_SCOPES not in key.scopes:
        raise Unauthenticated("This key acts in its own environment only.")
    if await given.keys.environment(environment_id) is None:
        raise Unauthenticated("There is no such environment.")
