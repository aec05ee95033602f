"""What an environment asks of its endpoints, looked at when one is made or changed."""

from gateway.body import Fields
from gateway.parts import Parts
from schema.app import App
from schema.endpoint import Endpoint
from schema.environment_settings import Rules
from schema.errors import BadState, FieldFault, Invalid
from schema.store import endpoint as store
from schema.store.link import Link

_PLAIN_HTTP = "http:"
_HTTPS = "must begin with https:// in this environment (enforceHttps)"


async def check_rules(
    link: Link, given: Parts, app: App, endpoint: Endpoint, present: Endpoint | None = None
) -> None:
    """Hold an endpoint to the settings of its environment; what it has had already may stay.

    Raises:
        Invalid: It is not as they ask.
        BadState: The app has as many endpoints as it may.
    """
    environment = await given.keys.environment(app.environment_id)
    if app.operational or environment is None:
        return
    rules = Rules.of(environment.settings)
    # One that awaits its configuration has nothing of what is asked for yet.
    former = None if present is None or present.awaits else present
    faults = [] if endpoint.awaits else list(_faults(rules, endpoint, former))
    if faults:
        raise Invalid(faults)
    most = rules.most_endpoints
    if present is None and most and await store.number_of(link, app.id, most) >= most:
        msg = f"An application may have {most} endpoints here (endpointsPerAppLimit)."
        raise BadState(msg, code="limit_reached")


async def check_token_url(given: Parts, app: App, fields: Fields, url: str) -> None:
    """Hold the URL of access tokens to the settings of the environment."""
    environment = await given.keys.environment(app.environment_id)
    if environment is None or not url.startswith(_PLAIN_HTTP):
        return
    if Rules.of(environment.settings).https_only:
        fields.fault("tokenUrl", _HTTPS)


def _faults(rules: Rules, endpoint: Endpoint, present: Endpoint | None) -> list[FieldFault]:
    faults = []
    is_new_url = present is None or present.url != endpoint.url
    if rules.https_only and is_new_url and endpoint.url.startswith(_PLAIN_HTTP):
        faults.append(("url", _HTTPS))
    if rules.wants_channel and not endpoint.channels and _has(present, "channels"):
        faults.append(("channels", "at least one is required here (requireEndpointChannel)"))
    if rules.wants_event_types and not endpoint.event_types and _has(present, "event_types"):
        said = "at least one is required here (requireEndpointFilterTypes)"
        faults.append(("eventTypes", said))
    return [FieldFault(loc=("body", name), msg=msg) for name, msg in faults]


def _has(present: Endpoint | None, name: str) -> bool:
    """Tell whether a filter is there to be lost, or to be given at first."""
    return present is None or bool(getattr(present, name))
