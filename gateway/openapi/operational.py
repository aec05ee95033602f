"""Operational endpoints and alert rules, described."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gateway.alert_fields import MAX_APPS, MAX_NAME
from gateway.openapi.attempt import ATTEMPT
from gateway.openapi.dead_letter import DEAD_LETTER
from gateway.openapi.describe import NOTHING, PAGE, Resource, Said, done
from gateway.openapi.endpoint import ENDPOINT
from gateway.openapi.shape import (
    FLAG,
    NUMBER,
    TEXT,
    TIME,
    about,
    many,
    maybe,
    page_of,
    ref,
    text,
    thing,
    whole,
    word,
)
from gateway.routes import operational_webhook
from schema.alert import MAX_WINDOW_S, MIN_WINDOW_S, Measure
from schema.event import UID_PATTERN

_APP: Final = "/api/v1/app/{app_id}"
_ROOT: Final = "/api/v1/operational-webhook"
_ID: Final = "v1.operational-webhook."
_ROTATE: Final = f"POST {_ROOT}/endpoint/{{endpoint_id}}/secret/rotate"
_RULES: Final = "/api/v1/alert-rule"
_RULE: Final = f"{_RULES}/{{rule_id}}"
_MOST: Final = 2**31 - 1
_LIMITS: Final = {
    "clearBelow": about(maybe(whole(1, _MOST)), "Four fifths of the threshold if absent."),
    "windowSeconds": maybe(whole(MIN_WINDOW_S, MAX_WINDOW_S)),
    "leastAttempts": maybe(whole(1, _MOST)),
    "apps": about(
        maybe(many(text(pattern=UID_PATTERN), least=1, most=MAX_APPS)), "Ids or uids; null is all."
    ),
    "enabled": FLAG,
}
_NAMED: Final = {
    "name": text(least=1, most=MAX_NAME),
    "kind": word(Measure),
    "threshold": whole(1, _MOST),
}
ALERT: Final = thing(
    {
        "appId": TEXT,
        "appUid": maybe(TEXT),
        "endpointId": maybe(TEXT),
        "endpointUid": maybe(TEXT),
        "value": NUMBER,
        "raisedAt": TIME,
        "clearedAt": maybe(TIME),
    }
)
RULE: Final = {
    "id": TEXT,
    "name": TEXT,
    "kind": word(Measure),
    "threshold": whole(),
    "clearBelow": whole(),
    "windowSeconds": whole(),
    "leastAttempts": whole(),
    "apps": maybe(many(TEXT)),
    "enabled": FLAG,
}
_SHOWN: Final = {**RULE, "raisedAt": maybe(TIME), "createdAt": TIME, "updatedAt": TIME}


_WHOLE: Final = (ref("EndpointIn"), ref("EndpointUpdate"))
_EXAMPLE: Final = {
    "url": "https://example.com/alarms",
    "uid": "alarms",
    "filterTypes": ["endpoint.disabled"],
}


def _lent() -> Iterator[tuple[str, Said]]:
    """Say of what is lent from an app's resources what is said of these."""
    served = {f"{o.method} {o.path}" for o in operational_webhook.routes()}
    for of_app in (ENDPOINT, ATTEMPT, DEAD_LETTER):
        for place, said in of_app.operations.items():
            here = place.replace(_APP, _ROOT)
            if here in served and here != place:
                ident = said.id.removeprefix("v1.").removeprefix("application.")
                answers = NOTHING if here == _ROTATE else said.answers
                example = _EXAMPLE if said.body in _WHOLE else said.example
                yield here, replace(said, id=_ID + ident, answers=answers, example=example)


OPERATIONAL_WEBHOOK: Final = Resource(
    tag="Operational Webhook",
    about="Where operators are told what happens; the events stand under webhooks.",
    operations=dict(_lent()),
)

ALERT_RULE: Final = Resource(
    tag="Alert Rule",
    about="When operators are told that something of an app or endpoint is too much.",
    shapes={
        "Alert": ALERT,
        "AlertRule": thing(_SHOWN),
        "AlertRuleWhole": thing({**_SHOWN, "alerts": many(ref("Alert"))}),
        "AlertRuleIn": thing(_NAMED, _LIMITS),
        "AlertRulePatch": thing({}, {**_NAMED, **_LIMITS}),
    },
    operations={
        f"GET {_RULES}": Said(
            id="v1.alert-rule.list",
            summary="List the alert rules, those that the environment started with first.",
            query=PAGE,
            answers=done(page_of("AlertRule")),
        ),
        f"POST {_RULES}": Said(
            id="v1.alert-rule.create",
            summary="Make a rule.",
            body=ref("AlertRuleIn"),
            answers={201: ref("AlertRule")},
            errors=(404,),
        ),
        f"GET {_RULE}": Said(
            id="v1.alert-rule.get",
            summary="Give a rule, and for whom it is raised.",
            answers=done(ref("AlertRuleWhole")),
        ),
        f"PUT {_RULE}": Said(
            id="v1.alert-rule.update",
            summary="Replace a rule.",
            body=ref("AlertRuleIn"),
            answers=done(ref("AlertRule")),
        ),
        f"PATCH {_RULE}": Said(
            id="v1.alert-rule.patch",
            summary="Change what the body names.",
            body=ref("AlertRulePatch"),
            answers=done(ref("AlertRule")),
        ),
        f"DELETE {_RULE}": Said(
            id="v1.alert-rule.delete",
            summary="Delete a rule; if it is raised, that is told as over.",
            answers=NOTHING,
        ),
    },
)
