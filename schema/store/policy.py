"""Retry policies as they are stored: a list of seconds, whole where they can be; null is none."""

from schema.retry import RetryPolicy, read_policy


def write(policy: RetryPolicy | None) -> list[float] | None:
    """Give what is stored of a policy, and shown of it."""
    if policy is None:
        return None
    return [int(wait_s) if wait_s == int(wait_s) else wait_s for wait_s in policy.waits_s]


def read(stored: object) -> RetryPolicy | None:
    """Read what was stored."""
    return None if stored is None else read_policy(stored)
