"""When a failed attempt is tried again. Pure: brings no clock and no dice.

Waits are seconds. The default gives up 75 h 35 min after the first attempt: the example schedule of
Standard Webhooks 1.0.0. It can be set for the installation, an environment, an app, an event type
or an endpoint; the latter of these wins.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

DEFAULT_WAITS_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
MAX_ATTEMPTS: Final = 50
MAX_WAIT_S: Final = 30 * 86_400.0
RETRY_AFTER_CAP_S: Final = 86_400.0
_GROWTH: Final = {"base": 1, "factor": 2, "cap": 300, "attempts": 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The waits after the first attempt; as many retries as there are waits."""

    waits_s: tuple[float, ...]

    def wait_s(self, *, failures: int, dice: float, jitter: float) -> float | None:
        """Say how long to wait, or None to give up.

        Args:
            failures: Attempts of this run that failed so far; 1 after the first.
            dice: Uniform in [0, 1); the caller throws it.
            jitter: The largest part by which a wait grows; it never shrinks.
        """
        if failures > len(self.waits_s):
            return None
        return self.waits_s[failures - 1] * (1 + jitter * dice)


def due_again(
    policy: RetryPolicy,
    *,
    failures: int,
    now: datetime,
    dice: float,
    jitter: float,
    retry_after_s: float | None = None,
) -> datetime | None:
    """Say when to try again, or None to give up; a Retry-After lengthens, up to a day."""
    wait_s = policy.wait_s(failures=failures, dice=dice, jitter=jitter)
    if wait_s is None:
        return None
    if retry_after_s is not None:
        wait_s = max(wait_s, min(retry_after_s, RETRY_AFTER_CAP_S))
    return now + timedelta(seconds=wait_s)


def read_policy(stored: object) -> RetryPolicy:
    """Read a policy: a list of seconds, or `{base, factor, cap, attempts}`.

    Raises:
        ValueError: It is neither, or outside of the bounds.
    """
    if isinstance(stored, list):
        waits = _numbers(stored)
    elif isinstance(stored, dict) and stored.keys() <= _GROWTH.keys():
        waits = _grown(*_numbers(stored.get(name, default) for name, default in _GROWTH.items()))
    else:
        msg = "give a list of seconds, or {base, factor, cap, attempts}"
        raise ValueError(msg)
    if len(waits) >= MAX_ATTEMPTS or any(not 0 <= wait <= MAX_WAIT_S for wait in waits):
        msg = f"at most {MAX_ATTEMPTS - 1} waits of 0 to {MAX_WAIT_S:.0f} seconds"
        raise ValueError(msg)
    return RetryPolicy(waits_s=waits)


def _grown(base: float, factor: float, cap: float, attempts: float) -> tuple[float, ...]:
    if not 1 <= attempts <= MAX_ATTEMPTS or attempts % 1:
        msg = f"attempts must be 1 to {MAX_ATTEMPTS}"
        raise ValueError(msg)
    waits, wait = list[float](), base
    for _ in range(int(attempts) - 1):
        waits.append(min(wait, cap))
        wait *= factor
    return tuple(waits)


def _numbers(values: Iterable[object]) -> tuple[float, ...]:
    numbers = list[float]()
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            msg = f"{value!r} is not a number of seconds"
            raise ValueError(msg)  # noqa: TRY004 one kind of error for the caller
        try:
            numbers.append(float(value))
        except OverflowError:
            msg = "a number is too large"
            raise ValueError(msg) from None
    return tuple(numbers)
