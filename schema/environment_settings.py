"""The settings of an environment: a JSON document, of which some fields take effect here.

The names, types and defaults are those of Svix's API. What we have no use for (colours, switches of
features that its portal has) is kept and given back. Pure.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

MOST_BYTES: Final = 65_536  # of the document, as JSON
RETRY_POLICY: Final = "retryPolicy"  # an environment has it as a column of its own
ENFORCE_HTTPS: Final = "enforceHttps"
# What apps can be told by mail; of streams there are none.
ALERTS: Final = ("endpoint.disabled", "message.attempt.exhausted", "stream.sink.disabled")


class Kind(NamedTuple):
    """What a setting may be; `default` is shown when it was never set."""

    of: type
    default: object = None
    nullable: bool = False


_OFF: Final = Kind(bool, default=False)
_ON: Final = Kind(bool, default=True)
_TEXT: Final = Kind(str, nullable=True)
_NUMBER: Final = Kind(int, nullable=True)
_OBJECT: Final = Kind(dict, nullable=True)
_LIST: Final = Kind(list, default=())

KNOWN: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "advancedEndpointTypes": _LIST,
        "applicationAlertEvents": _LIST,
        "applicationAlertsDashboardUrl": _TEXT,
        "applicationAlertsLogoUrl": _TEXT,
        "colorPaletteDark": _OBJECT,
        "colorPaletteLight": _OBJECT,
        "customBaseFontSize": _NUMBER,
        "customColor": _TEXT,
        "customFontFamily": _TEXT,
        "customFontFamilyUrl": _TEXT,
        "customLogoUrl": _TEXT,
        "customStringsOverride": _OBJECT,
        "customThemeOverride": _OBJECT,
        "disableEndpointOnFailure": _ON,
        "displayName": _TEXT,
        "enableApplicationAlerts": _OFF,
        "enableChannels": _OFF,
        "enableEndpointMtlsConfig": _OFF,
        "enableEndpointOauthConfig": _OFF,
        "enableIntegrationManagement": _OFF,
        "enableMessageStream": _OFF,
        "enableMessageTags": _OFF,
        "enableMsgAtmptLog": _OFF,
        "enableOtlp": _OFF,
        "enableTransformations": _OFF,
        "endpointsPerAppLimit": _NUMBER,
        "enforceHttps": _OFF,
        "eventCatalogPublished": _OFF,
        "mcpToken": _OFF,
        "readOnly": _OFF,
        "requireEndpointChannel": _OFF,
        "requireEndpointFilterTypes": _OFF,
        "sendSvixWebhookHeaders": _OFF,
        "showFeatureTooltips": _OFF,
        "showSvixBrandFooter": _OFF,
        "showUseSvixPlay": _ON,
        "webhooksAutoConfig": _OFF,
        "whitelabelHeaders": _OFF,
        "whitelabelLogo": _TEXT,
        "wipeSuccessfulPayload": _OFF,
    }
)
# What the tenants of an environment are shown of it.
FOR_TENANTS: Final = (
    "advancedEndpointTypes", "colorPaletteDark", "colorPaletteLight", "customColor",
    "customFontFamily", "customFontFamilyUrl", "customLogoUrl", "customStringsOverride",
    "customThemeOverride", "displayName", "enableChannels", "enableEndpointMtlsConfig",
    "enableEndpointOauthConfig", "enableIntegrationManagement", "enableMessageStream",
    "enableMessageTags", "enableTransformations", "showFeatureTooltips", "showSvixBrandFooter",
    "showUseSvixPlay", "wipeSuccessfulPayload",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that take effect, besides the retry policy.

    Attributes:
        https_only: Endpoints must have https URLs. An environment can be stricter than the
            installation, not less strict.
        wants_channel: Endpoints must filter by channel.
        wants_event_types: Endpoints must filter by event type.
        most_endpoints: Of an app; None is any number.
        disables: Endpoints that fail for days are disabled.
        transformations: Keys of portals may see and change endpoints' code.
    """

    https_only: bool
    wants_channel: bool
    wants_event_types: bool
    most_endpoints: int | None
    disables: bool
    transformations: bool

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Read them; what somebody else wrote and is nonsense counts as never set."""
        most = settings.get("endpointsPerAppLimit")
        return cls(
            https_only=settings.get(ENFORCE_HTTPS) is True,
            wants_channel=settings.get("requireEndpointChannel") is True,
            wants_event_types=settings.get("requireEndpointFilterTypes") is True,
            most_endpoints=most if isinstance(most, int) and most > 0 else None,
            disables=settings.get("disableEndpointOnFailure") is not False,
            transformations=settings.get("enableTransformations") is True,
        )


def whole(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give all settings, with the defaults of those that were never set."""
    return {name: kind.default for name, kind in KNOWN.items()} | dict(settings)


def fault_of(name: str, value: object, *, replaces: bool) -> str | None:
    """Say why a setting cannot have a value, or None. Settings that nobody knows take any.

    Where all settings are replaced, null is the same as absent.
    """
    kind = KNOWN.get(name)
    if kind is None:
        return None
    if value is None:
        return None if kind.nullable or replaces else "must not be null"
    if not isinstance(value, kind.of) or (kind.of is int and isinstance(value, bool)):
        return f"{_WORDS[kind.of]} is expected"
    if name in _CHECKS and (why_not := _CHECKS[name](value)):
        return why_not
    if kind.of is int and isinstance(value, int) and not 0 <= value < 2**32:
        return "must be 0 to 4294967295"
    return None


def _check_limit(value: object) -> str | None:
    return "must be at least 1" if value == 0 else None


def _check_events(value: object) -> str | None:
    if isinstance(value, list) and all(isinstance(one, str) and one in ALERTS for one in value):
        return None
    return f"must be {', '.join(ALERTS[:-1])} or {ALERTS[-1]}"


def _check_web(value: object) -> str | None:
    if isinstance(value, str) and re.match(r"https?://[^\s/?#]+\S*\Z", value):
        return None
    return "must begin with https:// or http://"


_CHECKS: Final[Mapping[str, Callable[[object], str | None]]] = MappingProxyType(
    {
        "applicationAlertEvents": _check_events,
        "applicationAlertsDashboardUrl": _check_web,
        "applicationAlertsLogoUrl": _check_web,
        "endpointsPerAppLimit": _check_limit,
    }
)
_WORDS: Final[Mapping[type, str]] = MappingProxyType(
    {
        bool: "true or false",
        str: "a text",
        int: "a whole number",
        dict: "an object",
        list: "a list",
    }
)
