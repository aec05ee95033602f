"""The fields of an endpoint in a request's body: of a new one, of all of one, or of a change."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from gateway.body import Fields
from gateway.common import RATE, read_metadata, read_rate, read_retry_policy, read_uid
from gateway.parts import Parts
from schema import ids
from schema.address import UrlFault, check_url
from schema.app import App
from schema.endpoint import AWAITING, AWAITING_URL, Endpoint, EndpointState
from schema.event import CHANNEL_PATTERN, EVENT_TYPE_PATTERN, MAX_CHANNELS

TYPES: Final = ("eventTypes", "filterTypes")
MAX_DESCRIPTION: Final = 4_096
BY_REQUEST: Final = "by_request"
AUTO_CONFIGURED: Final = {"_svix_auto_config": "true"}  # Svix's provider for Terraform expects it
_MAX_VERSION: Final = 65_535


def fresh(given: Parts, app: App, fields: Fields) -> Endpoint:
    """Read a new endpoint, without headers. The caller checks the fields."""
    now = given.clock()
    return _read_all(given, _blank(app, now), fields, now)


def _blank(app: App, now: datetime) -> Endpoint:
    return Endpoint(
        app_id=app.id,
        id=ids.new_id(ids.ENDPOINT, now),
        uid=None,
        url="",
        description="",
        version=1,
        event_types=None,
        channels=None,
        headers=None,
        throttle_rate=None,
        retry_policy=None,
        ordered=False,
        metadata={},
        state=EndpointState.ACTIVE,
        state_reason="",
        state_at=now,
        created_at=now,
        updated_at=now,
    )


def awaiting(given: Parts, app: App) -> Endpoint:
    """Give a new endpoint that awaits its configuration."""
    now = given.clock()
    return replace(
        _blank(app, now),
        url=AWAITING_URL,
        state=EndpointState.DISABLED,
        state_reason=AWAITING,
        metadata=AUTO_CONFIGURED,
    )


def subscribed(given: Parts, present: Endpoint, fields: Fields) -> Endpoint:
    """Read what an endpoint that configures itself is to be. The caller checks the fields."""
    now = given.clock()
    endpoint = _read_all(given, present, fields, now)
    if endpoint.state_reason == AWAITING:  # it is disabled still, and by request from now on
        endpoint = _put(endpoint, EndpointState.DISABLED, now)
    return replace(endpoint, metadata={**endpoint.metadata, **AUTO_CONFIGURED})


def replaced(given: Parts, present: Endpoint, fields: Fields) -> Endpoint:
    """Read an endpoint that takes the place of `present`; what is ours alone may be left out.

    Raises:
        Invalid: A field is not as it must be.
    """
    endpoint = _read_all(given, present, fields, given.clock())
    fields.check()
    return endpoint


def changed(given: Parts, present: Endpoint, fields: Fields) -> Endpoint:
    """Read a change to an endpoint.

    Raises:
        Invalid: A field is not as it must be.
    """
    now = given.clock()
    readers: dict[tuple[str, ...], Callable[[Endpoint], Endpoint]] = {
        ("url",): lambda e: replace(e, url=_read_url(given, fields)),
        ("uid",): lambda e: replace(e, uid=read_uid(fields, ids.ENDPOINT)),
        ("description",): lambda e: replace(
            e, description=fields.text("description", max_length=MAX_DESCRIPTION)
        ),
        ("version",): lambda e: replace(e, version=_read_version(fields)),
        TYPES: lambda e: replace(e, event_types=_read_event_types(fields)),
        ("channels",): lambda e: replace(e, channels=_read_channels(fields)),
        RATE: lambda e: replace(e, throttle_rate=read_rate(fields)),
        ("metadata",): lambda e: replace(e, metadata=read_metadata(fields)),
        ("disabled",): lambda e: _switched(e, disabled=fields.boolean("disabled"), now=now),
    }
    endpoint = present
    for names, read in readers.items():
        if fields.has(*names):
            endpoint = read(endpoint)
    endpoint = _read_ours(endpoint, fields, now)
    if endpoint.awaits and endpoint.state is not EndpointState.DISABLED:
        fields.fault("disabled", "this endpoint awaits its configuration: it has no url yet")
    fields.check()
    return replace(endpoint, updated_at=now)


def _read_all(given: Parts, onto: Endpoint, fields: Fields, now: datetime) -> Endpoint:
    endpoint = replace(
        onto,
        uid=read_uid(fields, ids.ENDPOINT),
        url=_read_url(given, fields),
        description=fields.text("description", default="", max_length=MAX_DESCRIPTION),
        version=_read_version(fields),
        event_types=_read_event_types(fields),
        channels=_read_channels(fields),
        throttle_rate=read_rate(fields),
        metadata=read_metadata(fields),
        updated_at=now,
    )
    disabled = fields.boolean("disabled", default=False)
    return _read_ours(_switched(endpoint, disabled=disabled, now=now), fields, now)


def _read_ours(endpoint: Endpoint, fields: Fields, now: datetime) -> Endpoint:
    """Read what Svix does not have; the SDKs leave it out, so absent leaves it as it is."""
    endpoint = replace(
        endpoint,
        retry_policy=read_retry_policy(fields, endpoint.retry_policy),
        ordered=fields.boolean("ordered", default=endpoint.ordered),
    )
    return _read_paused(endpoint, fields, now)


def _switched(endpoint: Endpoint, *, disabled: bool, now: datetime) -> Endpoint:
    """Disable or enable; one that is paused is not disabled and stays paused."""
    if disabled == (endpoint.state is EndpointState.DISABLED):
        return endpoint
    return _put(endpoint, EndpointState.DISABLED if disabled else EndpointState.ACTIVE, now)


def _read_paused(endpoint: Endpoint, fields: Fields, now: datetime) -> Endpoint:
    """Pause or let go on; what is disabled cannot be paused as well."""
    was_paused = endpoint.state is EndpointState.PAUSED
    paused = fields.boolean("paused", default=was_paused)
    if paused and endpoint.state is EndpointState.DISABLED:
        fields.fault("paused", "a disabled endpoint cannot be paused")
    if paused == was_paused:
        return endpoint
    return _put(endpoint, EndpointState.PAUSED if paused else EndpointState.ACTIVE, now)


def _put(endpoint: Endpoint, state: EndpointState, now: datetime) -> Endpoint:
    reason = "" if state is EndpointState.ACTIVE else BY_REQUEST
    return replace(endpoint, state=state, state_reason=reason, state_at=now)


def _read_url(given: Parts, fields: Fields) -> str:
    text = fields.text("url", min_length=1)
    if not text:
        return ""
    if text == AWAITING_URL:
        fields.fault("url", "stands for none")
    try:
        return check_url(text, given.config.address_policy).text
    except UrlFault as fault:
        fields.fault("url", str(fault))
        return ""


def _read_version(fields: Fields) -> int:
    return fields.optional_integer("version", minimum=1, maximum=_MAX_VERSION) or 1


def _read_event_types(fields: Fields) -> tuple[str, ...] | None:
    return fields.optional_texts(*TYPES, pattern=EVENT_TYPE_PATTERN)


def _read_channels(fields: Fields) -> tuple[str, ...] | None:
    return fields.optional_texts("channels", pattern=CHANNEL_PATTERN, max_items=MAX_CHANNELS)
