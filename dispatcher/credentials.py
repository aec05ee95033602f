"""What requests to an endpoint are made with, out of its row: head, signer, TLS, access tokens."""

import json
from typing import Final

from dispatcher.oauth import OauthClient
from dispatcher.tls import Tls, particular
from dispatcher.transport import request_head
from schema.address import AddressPolicy, EndpointUrl, UrlFault, check_url
from schema.certificate import CONTEXT as IDENTITY
from schema.endpoint import SENT_ALWAYS, secret_context
from schema.oauth import CONTEXT as OAUTH
from schema.oauth import OauthConfig
from schema.store.directory import EndpointRow
from schema.store.endpoint_oauth import Place
from signer.secret import SecretKind, SigningSecret
from signer.standard import Signer
from signer.vault import Vault

OWN_HEADERS: Final = tuple((name.encode(), value.encode()) for name, value in SENT_ALWAYS)
AUTHORIZATION: Final = "authorization"


def head_of(row: EndpointRow, url: EndpointUrl | None, vault: Vault) -> bytes:
    """Write the request line and the headers that stay the same.

    Raises:
        SignerError: The endpoint's own headers cannot be opened.
        httpx.LocalProtocolError: One of them cannot be sent.
    """
    if url is None:
        return b""
    named = headers_of(row, vault).items()
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in named]
    return request_head(url, [*OWN_HEADERS, *headers])


def headers_of(row: EndpointRow, vault: Vault) -> dict[str, str]:
    """Give the endpoint's own headers that are sent.

    Raises:
        SignerError: They cannot be opened.
    """
    if row.headers is None:
        return {}
    opened = vault.open(row.headers, context=secret_context(row.app_id, row.id))
    named: dict[str, str] = json.loads(opened)
    dropped = AUTHORIZATION if row.oauth is not None else ""  # the token's header counts
    return {name: value for name, value in named.items() if name.lower() != dropped}


def signer_of(row: EndpointRow, vault: Vault) -> Signer:
    """Make what signs with all secrets that count.

    Raises:
        SignerError: There is none, or one cannot be opened.
    """
    context = secret_context(row.app_id, row.id)
    return Signer(
        [
            SigningSecret(
                kind=SecretKind(sealed.kind), key=vault.open(sealed.sealed, context=context)
            )
            for sealed in row.secrets
        ]
    )


def tls_of(row: EndpointRow, vault: Vault) -> Tls | None:
    """Say what is particular about the TLS of an endpoint.

    Raises:
        SignerError: The identity cannot be opened.
    """
    if row.authorities is None and row.identity is None:
        return None
    authorities = None if row.authorities is None else row.authorities.decode()
    identity = None
    if row.identity is not None:
        identity = vault.open(row.identity, context=secret_context(row.app_id, row.id, IDENTITY))
    return particular(row.app_id, authorities, identity)


def oauth_of(
    row: EndpointRow,
    vault: Vault,
    policy: AddressPolicy,
    *,
    url: EndpointUrl | None,
    tls: Tls | None,
) -> OauthClient | None:
    """Say how access tokens for an endpoint are got.

    Raises:
        SignerError: The configuration cannot be opened.
        ValueError: It is none.
    """
    if row.oauth is None:
        return None
    version, sealed = row.oauth
    config = OauthConfig.load(vault.open(sealed, context=secret_context(row.app_id, row.id, OAUTH)))
    place = Place(row.app_id, row.id, version)
    try:
        asked = check_url(config.token_url, policy)
    except UrlFault as fault:
        return OauthClient(place=place, config=config, url=None, fault=f"the token URL: {fault}")
    is_same = url is not None and (url.host, url.port) == (asked.host, asked.port)
    return OauthClient(place=place, config=config, url=asked, tls=tls if is_same else None)
