"""Fields that several resources have, read and shown alike."""

from typing import Final

from gateway.body import Fields
from schema.event import EVENT_TYPE_PATTERN, UID_PATTERN
from schema.retry import RetryPolicy, read_policy

MAX_UID: Final = 256
MAX_RATE: Final = 65_535  # deliveries per second; the SDKs' type
MAX_FLAGS: Final = 25
MAX_METADATA_BYTES: Final = 4_096
RETRY_POLICY: Final = "retryPolicy"
RATE: Final = ("throttleRate", "rateLimit")


def read_uid(fields: Fields, prefix: str) -> str | None:
    """Read a uid: plain characters, and nothing that could be taken for an id."""
    uid = fields.optional_text("uid", min_length=1, max_length=MAX_UID, pattern=UID_PATTERN)
    if uid is not None and uid.startswith(prefix):
        fields.fault("uid", f"must not begin with {prefix}")
    return uid


def read_rate(fields: Fields) -> int | None:
    """Read a rate limit."""
    return fields.optional_integer(*RATE, minimum=1, maximum=MAX_RATE)


def read_metadata(fields: Fields) -> dict[str, str]:
    """Read metadata; absent is empty."""
    return fields.text_map("metadata", max_bytes=MAX_METADATA_BYTES)


def read_flags(fields: Fields) -> tuple[str, ...]:
    """Read the feature flags of a key's holder; absent is none."""
    flags = fields.optional_texts("featureFlags", pattern=EVENT_TYPE_PATTERN, max_items=MAX_FLAGS)
    return flags or ()


def read_retry_policy(fields: Fields, present: RetryPolicy | None = None) -> RetryPolicy | None:
    """Read a retry policy: absent leaves the present one, null is the one of the next level."""
    if not fields.has(RETRY_POLICY):
        return present
    given = fields.raw(RETRY_POLICY)
    if given is None:
        return None
    try:
        return read_policy(given)
    except (ValueError, OverflowError) as error:
        fields.fault(RETRY_POLICY, str(error))
        return present
