"""Which scopes let an operation pass, told from its method and path (pure).

The longest of the places below that a path begins with says which resource it is about; `*` is any
one part. A GET reads, whatever else there is writes, unless the operation's row says otherwise.
"""

from collections.abc import Mapping
from typing import Final

from schema.scope import ALL_SCOPES, Scope

_ROOT: Final = "/api/v1/"
_ANY: Final = "*"
_READ: Final = "Read"
_WRITE: Final = "Write"
_MAKING_ATTEMPTS: Final = (
    "bulk-replay",
    "cancel-msgs",
    "recover",
    "replay-missing",
    "send-example",
)
_OTHER_SECRETS: Final = ("mtls", "mtls-config", "oauth", "oauth-config")
_PLACES: Final[Mapping[str, str]] = {
    "alert-rule": "alert-rule",
    "app": "application",
    "app/*/attempt": "message-attempt",
    "app/*/dead-letter": "dead-letter",
    "app/*/dead-letter-group": "dead-letter",
    "app/*/endpoint": "endpoint",
    "app/*/auto-config": "endpoint-secret",
    "app/*/endpoint/*/attempt-stats": "statistics",
    "app/*/endpoint/*/auto-config/rotate": "endpoint-secret",
    "app/*/endpoint/*/msg": "message-attempt",
    "app/*/endpoint/*/secret": "endpoint-secret",
    **{f"app/*/endpoint/*/{secret}": "endpoint-secret" for secret in _OTHER_SECRETS},
    "app/*/endpoint/*/stats": "statistics",
    "app/*/endpoint/*/transformation": "endpoint-secret",  # it shows variables
    **{f"app/*/endpoint/*/{made}": "message-attempt" for made in _MAKING_ATTEMPTS},
    "app/*/events": "message",
    "app/*/integration": "integration",
    "app/*/integration/*/key": "authentication",
    "app/*/msg": "message",
    "app/*/msg/*/attempt": "message-attempt",
    "app/*/msg/*/endpoint": "message-attempt",
    "app/*/poller": "poller",
    "app/*/polling-endpoint": "poller",
    "app/*/stats": "statistics",
    "app/*/task": "background-task",
    "app/stats": "statistics",
    "auth": "authentication",
    "background-task": "background-task",
    "dead-letter": "dead-letter",
    "dead-letter-group": "dead-letter",
    "endpoint-health": "endpoint",
    "environment": "environment",
    "event-type": "event-type",
    "events": "operational-webhook",
    "management/authentication": "authentication",
    "management/environment": "environment",
    "management/environment-settings": "environment",
    "management/organization": "authentication",
    "msg": "message",
    "operational-webhook": "operational-webhook",
    "operational-webhook/endpoint/*/secret": "endpoint-secret",
    "reconciliation": "statistics",
    "rejected-event": "rejected-event",
    "stats": "statistics",
    "task": "background-task",
}
_BY_PARTS: Final = {tuple(place.split("/")): resource for place, resource in _PLACES.items()}
# What else lets pass what takes a scope: whoever may write messages may publish.
_ALSO: Final[Mapping[Scope, tuple[Scope, ...]]] = {
    Scope.MESSAGE_CREATE: (Scope.MESSAGE_WRITE,),
}
# Those of operations that an app's key may do.
APP_SCOPES: Final = (
    Scope.APPLICATION_READ,
    Scope.ENDPOINT_READ,
    Scope.ENDPOINT_WRITE,
    Scope.ENDPOINT_SECRET_READ,
    Scope.ENDPOINT_SECRET_WRITE,
    Scope.EVENT_TYPE_READ,
    Scope.MESSAGE_CREATE,
    Scope.MESSAGE_READ,
    Scope.MESSAGE_WRITE,
    Scope.ATTEMPT_READ,
    Scope.ATTEMPT_WRITE,
    Scope.DEAD_LETTER_READ,
    Scope.DEAD_LETTER_WRITE,
    Scope.POLLER_READ,
    Scope.POLLER_WRITE,
    Scope.TASK_READ,
    Scope.TASK_WRITE,
    Scope.INTEGRATION_READ,
    Scope.INTEGRATION_WRITE,
    Scope.STATISTICS_READ,
    Scope.ENVIRONMENT_READ,
    Scope.AUTHENTICATION_READ,
    Scope.AUTHENTICATION_WRITE,
)
# What an environment has besides apps.
_ABOVE_APPS: Final = frozenset(
    {"alert-rule", "authentication", "environment", "event-type", "operational-webhook"}
    | {"endpoint-secret"}  # of an operational endpoint, if no app stands before it
)
_APP: Final = "{app_id}"
OF_ALL_ENVIRONMENTS: Final = (ALL_SCOPES,)


def places() -> dict[str, list[str]]:
    """Give the places of each resource, for a person."""
    found: dict[str, list[str]] = {}
    for place, resource in sorted(_PLACES.items()):
        found.setdefault(resource, []).append(f"{_ROOT}{place}")
    return found


def resource_of(path: str) -> str:
    """Say which resource a path is about.

    Raises:
        ValueError: Nobody has said.
    """
    parts = path.removeprefix(_ROOT).split("/")
    for length in range(len(parts), 0, -1):
        for place, resource in _BY_PARTS.items():
            if len(place) == length and _begins(parts, place):
                return resource
    raise ValueError(f"{path}: which resource is this? Say it in gateway/scopes.py")


def scopes_for(path: str, *, writes: bool, publishes: bool) -> tuple[Scope, ...]:
    """Give the scopes of which any one lets an operation pass, the narrowest first.

    Raises:
        ValueError: There is none for this resource, or nobody has said which it is.
    """
    if publishes:
        narrowest = Scope.MESSAGE_CREATE
    else:
        narrowest = Scope(f"{resource_of(path)}:{_WRITE if writes else _READ}")
    return (narrowest, *_ALSO.get(narrowest, ()))


def is_of_app(path: str) -> bool:
    """Tell whether a path is about an app, or what stands below one: endpoints, messages, tasks.

    Raises:
        ValueError: Nobody has said which resource it is about.
    """
    return _APP in path or resource_of(path) not in _ABOVE_APPS


def _begins(parts: list[str], place: tuple[str, ...]) -> bool:
    return all(
        wanted == part or (wanted == _ANY and part.startswith("{"))
        for wanted, part in zip(place, parts, strict=False)
    )
