"""What a body may look like, by the name of its shape: what `/docs` fills in for a newcomer.

Made by hand, as a text made of a pattern says nothing. All are of one story: the app `acme`, its
endpoint `first`, the event type `invoice.paid`.
"""

from collections.abc import Mapping
from typing import Any, Final

_ACME: Final = {"name": "Acme", "uid": "acme"}
_SINCE: Final = "2026-01-01T00:00:00Z"
_UNTIL: Final = "2026-01-02T00:00:00Z"
_INVOICE: Final = {"invoice": 1, "amount": 4200}
_PUBLISHED: Final = {"eventType": "invoice.paid", "payload": _INVOICE}
_ENDPOINT: Final = {
    "url": "https://example.com/webhook",
    "uid": "first",
    "filterTypes": ["invoice.paid"],
}
_SCHEMA: Final = {
    "type": "object",
    "properties": {"invoice": {"type": "integer"}, "amount": {"type": "integer"}},
    "required": ["invoice"],
    "examples": [_INVOICE],
}
_TYPE: Final = {
    "name": "invoice.paid",
    "description": "An invoice has been paid.",
    "schemas": {"1": _SCHEMA},
}
_CODE: Final = "function handler(webhook) { webhook.payload.seen = true; return webhook; }"
_COLLECTOR: Final = {
    "url": "https://collector.example.com/v1/traces",
    "additionalHeaders": {"x-team": "acme"},
}
_WHY: Final = "Their server was away."
_LETTERS: Final = {"dryRun": True, "reason": _WHY}
_RULE: Final = {
    "name": "Too many dead letters",
    "kind": "parked_count",
    "threshold": 100,
    "clearBelow": 50,
}

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "AlertEmailPatch": {"email": "hooks@acme.example.com"},
    "AlertRuleIn": _RULE,
    "AlertRulePatch": {"threshold": 500},
    "ApiTokenExpireIn": {"expiry": 3_600},
    "ApiTokenIn": {"name": "billing", "scopes": ["application:Read", "message:create"]},
    "ApiTokenPatch": {"name": "invoices"},
    "ApiTokenUpdateIn": {"name": "invoices"},
    "AppPortalAccessIn": {"expiry": 3_600, "capabilities": ["ViewBase", "ManageEndpoint"]},
    "AppTokenIn": {"name": "theirs", "scopes": ["endpoint:Read", "endpoint:Write"]},
    "AppTokenPatch": {"name": "of Acme"},
    "AppUsageStatsIn": {"since": _SINCE, "until": _UNTIL, "appIds": ["acme"]},
    "ApplicationIn": _ACME,
    "ApplicationPatch": {"name": "Acme Ltd", "throttleRate": 100},
    "ApplicationTokenExpireIn": {"sessionIds": ["browser-1"]},
    "BulkExpungeContentsIn": {"ids": ["invoice-1"]},
    "BulkReplayIn": {"since": _SINCE, "until": _UNTIL, "eventTypes": ["invoice.paid"]},
    "CancelMsgsIn": {"createdBefore": _SINCE},
    "CreateTokenIn": {"name": "group"},
    "DeadLetterDiscard": _LETTERS,
    "DeadLetterGroupPatch": {"state": "acknowledged", "reason": "They know, and mend it."},
    "DeadLetterPurge": {**_LETTERS, "confirm": True},
    "DeadLetterRedeliver": {**_LETTERS, "rate": 50, "probe": 10, "stopPercent": 20},
    "DeadLetterReissue": {"payload": _INVOICE, "reason": "The amount was missing."},
    "EndpointHeadersIn": {"headers": {"x-source": "billing"}},
    "EndpointHeadersPatchIn": {"headers": {"x-source": "billing"}, "deleteHeaders": ["x-old"]},
    "EndpointIn": _ENDPOINT,
    "EndpointMtlsConfigIn": {
        "identity": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n"
        "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n"
    },
    "EndpointOauthConfigIn": {
        "grantType": "clientCredentials",
        "authMethod": "clientSecretBasic",
        "clientId": "hookline",
        "clientSecret": "s3cret",
        "tokenUrl": "https://login.example.com/token",
        "scopes": ["webhooks"],
    },
    "EndpointPatch": {"description": "Books invoices.", "throttleRate": 10},
    "EndpointSecretRotateIn": {"gracePeriodSeconds": 86_400},
    "EndpointServerCaIn": {"cert": "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n"},
    "EndpointTransformationPatch": {"code": _CODE, "enabled": True},
    "EndpointUpdate": _ENDPOINT,
    "EnvironmentImport": {"eventTypes": [_TYPE]},
    "EnvironmentModelIn": {"name": "Staging", "type": "development"},
    "EnvironmentUpdate": {"name": "Staging"},
    "EventExampleIn": {"eventType": "invoice.paid"},
    "EventTypeImportOpenApiIn": {
        "dryRun": True,
        "spec": {
            "openapi": "3.1.0",
            "info": {"title": "Billing", "version": "1"},
            "webhooks": {
                "invoice.paid": {
                    "post": {
                        "description": "An invoice has been paid.",
                        "requestBody": {"content": {"application/json": {"schema": _SCHEMA}}},
                    }
                }
            },
        },
    },
    "EventTypeIn": _TYPE,
    "EventTypePatch": {"description": "An invoice has been paid in full."},
    "EventTypeUpdate": {"description": "An invoice has been paid.", "schemas": {"1": _SCHEMA}},
    "IntegrationIn": {"name": "Zapier"},
    "MessageBulkIn": {"messages": [_PUBLISHED]},
    "MessageIn": {**_PUBLISHED, "eventId": "invoice-1"},
    "MessagePrecheckIn": {"eventType": "invoice.paid"},
    "MessageSearchIn": {"after": _SINCE, "before": _UNTIL, "event_types": ["invoice.paid"]},
    "MessageTokenIn": {"name": "publisher", "expiry": 86_400},
    "OneTimeTokenIn": {"oneTimeToken": "..."},
    "OptionalOtelConfig": {"otelConfig": _COLLECTOR},
    "OtelConfig": _COLLECTOR,
    "PollerIn": {"uid": "nightly", "eventTypes": ["invoice.paid"]},
    "PollerV2CommitIn": {"offset": 1},
    "PollingEndpointConsumerSeekIn": {"after": _SINCE},
    "Reason": {"reason": _WHY},
    "RecoverIn": {"since": _SINCE, "until": _UNTIL},
    "RejectedEventResubmit": {"application": "acme", "reason": "The app had another uid."},
    "ReplayIn": {"since": _SINCE, "until": _UNTIL},
    "RetryScheduleInOut": {"retrySchedule": [{"secs": 5, "nanos": 0}, {"secs": 300, "nanos": 0}]},
    "RotatePollerTokenIn": {"oldTokenExpiry": 3_600},
    "RotateSubscriptionIn": {"signingSecret": {"gracePeriodSeconds": 86_400}},
    "SettingsIn": {"enforceHttps": True},
    "SubscribeIn": {"endpoint": _ENDPOINT},
    "TransformationSimulateIn": {"code": _CODE, **_PUBLISHED},
}
