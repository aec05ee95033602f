"""The settings of an environment in a body, and as they are shown."""

from dataclasses import replace
from datetime import datetime

import orjson

from gateway.body import Fields
from gateway.common import read_retry_policy
from gateway.config import GatewayConfig
from schema.app import Environment
from schema.environment_settings import (
    ENFORCE_HTTPS,
    FOR_TENANTS,
    MOST_BYTES,
    RETRY_POLICY,
    fault_of,
    whole,
)
from schema.store import policy


def read_settings(
    fields: Fields, present: Environment, now: datetime, *, replaces: bool
) -> Environment:
    """Read settings; the caller checks the fields.

    Args:
        fields: Of the settings.
        present: The environment as it is.
        now: When it is changed.
        replaces: What is left out is as if it had never been set; else it stays as it is, and null
            is as if it had never been set.
    """
    given = fields.everything()
    for name, value in given.items():
        why_not = fault_of(name, value, replaces=replaces)
        if why_not is not None:
            fields.fault(name, why_not)
    settings = ({} if replaces else dict(present.settings)) | given
    settings = {name: value for name, value in settings.items() if value is not None}
    settings.pop(RETRY_POLICY, None)
    if len(orjson.dumps(settings)) > MOST_BYTES:
        fields.fault("settings", f"must be at most {MOST_BYTES} bytes as JSON")
    retry_policy = read_retry_policy(fields, None if replaces else present.retry_policy)
    return replace(present, settings=settings, retry_policy=retry_policy, updated_at=now)


def show_settings(environment: Environment, config: GatewayConfig) -> dict[str, object]:
    """Give all settings of an environment as they are in effect."""
    shown = whole(environment.settings)
    shown[ENFORCE_HTTPS] = bool(shown[ENFORCE_HTTPS]) or config.https_only
    return shown | {RETRY_POLICY: policy.write(environment.retry_policy)}


def show_to_tenants(environment: Environment) -> dict[str, object]:
    """Give what tenants are shown of an environment's settings."""
    shown = whole(environment.settings)
    return {name: shown[name] for name in FOR_TENANTS} | {"logoUrl": shown["customLogoUrl"]}
