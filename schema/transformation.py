"""Transformations: code of an endpoint's owner that makes another request of each message."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from schema.endpoint import secret_context

LEAST_CODE: Final = 10  # characters
MOST_CODE: Final = 51_200
MOST_VARIABLES: Final = 64
MOST_VARIABLE: Final = 4_096  # characters of a value
MOST_NAME: Final = 256
METHODS: Final = ("POST", "PUT", "PATCH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformation:
    """What an endpoint has of it.

    Attributes:
        code: JavaScript that defines `handler`; None is none.
        variables: Sealed JSON object of texts; None is none.
        updated_at: None if it was never set.
    """

    app_id: str
    endpoint_id: str
    code: str | None = None
    enabled: bool = False
    variables: bytes | None = None
    updated_at: datetime | None = None


def variables_context(app_id: str, endpoint_id: str) -> bytes:
    """Give what sealed variables are bound to, so that neither row nor column can be moved."""
    return b"variables/" + secret_context(app_id, endpoint_id)
