"""Certificates of endpoints: what a server is verified by, and as whom we go to it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

CONTEXT: Final = "identity"  # of a sealed one, behind the endpoint's own


class CertificateKind(StrEnum):
    """What certificates are for. Values are stored."""

    AUTHORITIES = "authorities"  # the server is verified by these, and by no others
    IDENTITY = "identity"  # sealed: a private key and its certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCertificate:
    """One row; `content` is PEM, sealed where it is an identity.

    Attributes:
        subject: Of the first certificate; empty for authorities.
        ends_at: When the first of them expires.
    """

    kind: CertificateKind
    content: bytes
    subject: str
    ends_at: datetime
    updated_at: datetime
