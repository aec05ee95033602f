"""What can go wrong, as one tree. Status codes are known to `gateway/problems.py` alone.

HooklineError
├── RequestFault       the caller did wrong; nothing was changed
│   ├── Invalid        one or more fields are not as they must be
│   ├── NotFound       no such thing belongs to the tenant
│   ├── Conflict       an id, uid or event id is taken
│   ├── Forbidden      the key may not do this
│   ├── Unauthenticated   no key, or a key that does not count
│   ├── TooLarge       the body is larger than the limit
│   └── BadState       the thing is in a state that does not allow this
├── Overload           we cannot take more at the moment; try again later
├── Unavailable        a dependency (Postgres, NATS) does not answer
└── SettingsFault      the operator's settings do not add up
"""

from collections.abc import Sequence
from dataclasses import dataclass


class HooklineError(Exception):
    """Base of all errors that this project raises on purpose."""

    code = "error"  # part of the HTTP contract


class RequestFault(HooklineError):
    """The caller did wrong; nothing was changed."""

    code = "generic_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFault:
    """One thing wrong with a request: where (`body`, `query` or `path` first), and what."""

    loc: tuple[str, ...]
    msg: str
    type: str = "value_error"


class Invalid(RequestFault):
    """One or more fields are not as they must be."""

    code = "validation"

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        """Carry every fault that was found."""
        super().__init__("; ".join(f"{'.'.join(f.loc)}: {f.msg}" for f in faults))
        self.faults = tuple(faults)


class NotFound(RequestFault):
    """No thing of this kind with this id belongs to the tenant."""

    code = "not_found"

    def __init__(self, kind: str = "Entity") -> None:
        """Name what was looked for; the id is not repeated."""
        super().__init__(f"{kind} not found")
        self.kind = kind


class Conflict(RequestFault):
    """An id, uid or event id is taken."""

    def __init__(self, detail: str = "A conflict has occurred", code: str = "conflict") -> None:
        """Say what is taken."""
        super().__init__(detail)
        self.code = code


class Forbidden(RequestFault):
    """The key may not do this."""

    code = "insufficient access"

    def __init__(self, detail: str = "Insufficient access for the given operation.") -> None:
        """Say what is missing."""
        super().__init__(detail)


class Unauthenticated(RequestFault):
    """No key, or a key that does not count."""

    code = "authentication_failed"

    def __init__(self, detail: str = "Incorrect authentication credentials.") -> None:
        """Say what to do, without repeating the key."""
        super().__init__(detail)


class TooLarge(RequestFault):
    """The body is larger than the limit."""

    code = "payload_too_large"

    def __init__(self, limit_bytes: int) -> None:
        """Name the limit."""
        super().__init__(f"Request payload is too large: the limit is {limit_bytes} bytes.")
        self.limit_bytes = limit_bytes


class BadState(RequestFault):
    """The thing is in a state that does not allow this."""

    def __init__(self, detail: str, code: str = "generic_error") -> None:
        """Say which state, and what to do."""
        super().__init__(detail)
        self.code = code


class Overload(HooklineError):
    """We cannot take more at the moment; nothing was accepted."""

    code = "overload"

    def __init__(self, detail: str, retry_after_s: float = 1.0) -> None:
        """Say which limit was met and when to try again."""
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(HooklineError):
    """A dependency does not answer; nothing was accepted."""

    code = "unavailable"

    def __init__(self, part: str, retry_after_s: float = 1.0) -> None:
        """Name the part: Postgres or NATS."""
        super().__init__(f"{part} does not answer; nothing was accepted, try again")
        self.part = part
        self.retry_after_s = retry_after_s


class SettingsFault(HooklineError):
    """The operator's settings do not add up."""

    code = "settings"

    def __init__(self, faults: Sequence[str]) -> None:
        """Carry every fault that was found."""
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)
