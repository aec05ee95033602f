"""All that is described, in the order in which it is shown."""

from typing import Final

from gateway.openapi.access import AUTHENTICATION, INTEGRATION, KEY
from gateway.openapi.application import APPLICATION
from gateway.openapi.attempt import ATTEMPT
from gateway.openapi.dead_letter import DEAD_LETTER
from gateway.openapi.dead_letter_group import DEAD_LETTER_GROUP
from gateway.openapi.describe import Resource
from gateway.openapi.endpoint import ENDPOINT
from gateway.openapi.endpoint_access import ENDPOINT_ACCESS
from gateway.openapi.environment import ENVIRONMENT
from gateway.openapi.event_type import EVENT_TYPE
from gateway.openapi.management import HEALTH, RECONCILIATION
from gateway.openapi.message import MESSAGES
from gateway.openapi.operational import ALERT_RULE, OPERATIONAL_WEBHOOK
from gateway.openapi.otel import OTEL
from gateway.openapi.poller import POLLER
from gateway.openapi.rejected_event import REJECTED_EVENT
from gateway.openapi.statistics import STATISTICS
from gateway.openapi.task import BACKGROUND_TASK, TASK
from gateway.openapi.transformation import TRANSFORMATION

RESOURCES: Final[tuple[Resource, ...]] = (
    APPLICATION,
    ENDPOINT,
    ENDPOINT_ACCESS,
    TRANSFORMATION,
    EVENT_TYPE,
    MESSAGES,
    ATTEMPT,
    POLLER,
    DEAD_LETTER,
    DEAD_LETTER_GROUP,
    REJECTED_EVENT,
    TASK,
    BACKGROUND_TASK,
    STATISTICS,
    OPERATIONAL_WEBHOOK,
    ALERT_RULE,
    ENVIRONMENT,
    OTEL,
    KEY,
    AUTHENTICATION,
    INTEGRATION,
    RECONCILIATION,
    HEALTH,
)
