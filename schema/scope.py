"""Scopes of keys: which operations a key may do, as the last word beside its kind.

The form is Svix's, `<resource>:Read` and `:Write`. A key without scopes may do all that its kind
may; one with `*` besides acts in every environment.
"""

from enum import StrEnum
from typing import Final

ALL_SCOPES: Final = "*"  # the installation's operator: every environment


class Scope(StrEnum):
    """What a key may do. Values are stored."""

    APPLICATION_READ = "application:Read"
    APPLICATION_WRITE = "application:Write"
    ENDPOINT_READ = "endpoint:Read"
    ENDPOINT_WRITE = "endpoint:Write"
    ENDPOINT_SECRET_READ = "endpoint-secret:Read"  # noqa: S105 a word
    ENDPOINT_SECRET_WRITE = "endpoint-secret:Write"  # noqa: S105 a word
    EVENT_TYPE_READ = "event-type:Read"
    EVENT_TYPE_WRITE = "event-type:Write"
    MESSAGE_CREATE = "message:create"  # publishes, and no more
    MESSAGE_READ = "message:Read"
    MESSAGE_WRITE = "message:Write"
    ATTEMPT_READ = "message-attempt:Read"
    ATTEMPT_WRITE = "message-attempt:Write"
    DEAD_LETTER_READ = "dead-letter:Read"
    DEAD_LETTER_WRITE = "dead-letter:Write"
    REJECTED_EVENT_READ = "rejected-event:Read"
    REJECTED_EVENT_WRITE = "rejected-event:Write"
    POLLER_READ = "poller:Read"
    POLLER_WRITE = "poller:Write"
    TASK_READ = "background-task:Read"
    TASK_WRITE = "background-task:Write"
    INTEGRATION_READ = "integration:Read"
    INTEGRATION_WRITE = "integration:Write"
    STATISTICS_READ = "statistics:Read"
    OPERATIONAL_WEBHOOK_READ = "operational-webhook:Read"
    OPERATIONAL_WEBHOOK_WRITE = "operational-webhook:Write"
    ALERT_RULE_READ = "alert-rule:Read"
    ALERT_RULE_WRITE = "alert-rule:Write"
    ENVIRONMENT_READ = "environment:Read"
    ENVIRONMENT_WRITE = "environment:Write"
    AUTHENTICATION_READ = "authentication:Read"
    AUTHENTICATION_WRITE = "authentication:Write"
