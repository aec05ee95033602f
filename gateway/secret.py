"""Signing secrets of endpoints: read, sealed, kept, rotated, shown."""

from datetime import datetime, timedelta
from typing import Final

from gateway.body import Fields
from gateway.parts import Parts
from schema import ids
from schema.endpoint import Endpoint, SealedSecret, secret_context
from schema.errors import BadState
from schema.store import endpoint_secret as store
from schema.store.link import Link
from signer.errors import SecretFault
from signer.secret import SecretKind, SigningSecret, generate, parse

MAX_OLD: Final = 10  # secrets that still sign beside the current one


def read_secret(fields: Fields, name: str) -> SigningSecret:
    """Read a secret; absent is a new one."""
    text = fields.optional_text(name)
    if text is None:
        return generate()
    try:
        return parse(text)
    except SecretFault as fault:
        fields.fault(name, str(fault))
        return generate()


async def keep(link: Link, given: Parts, endpoint: Endpoint, secret: SigningSecret) -> None:
    """Make a secret the current one of an endpoint that has none."""
    now = given.clock()
    sealed = SealedSecret(
        id=ids.new_id(ids.ENDPOINT_SECRET, now),
        kind=secret.kind,
        sealed=given.vault.seal(secret.key, context=secret_context(endpoint.app_id, endpoint.id)),
        created_at=now,
        expires_at=None,
    )
    await store.insert(link, endpoint.app_id, endpoint.id, sealed)


async def rotate(
    link: Link, given: Parts, endpoint: Endpoint, secret: SigningSecret, grace: timedelta
) -> None:
    """Make a secret the current one; the one before signs too for a while.

    Raises:
        BadState: Too many old ones sign still.
    """
    now = given.clock()
    live = await store.live(link, endpoint.app_id, endpoint.id, now)
    same = {old.id for old in live if unseal(given, endpoint, old) == secret}
    if len(live) - len(same) > MAX_OLD:
        detail = f"At most {MAX_OLD} old secrets may sign at a time; wait until one has expired."
        raise BadState(detail, code="limit_reached")
    await store.delete_some(link, endpoint.app_id, endpoint.id, same, now)
    await store.retire(link, endpoint.app_id, endpoint.id, now + grace)
    await keep(link, given, endpoint, secret)


async def current(link: Link, given: Parts, endpoint: Endpoint, now: datetime) -> SigningSecret:
    """Give the secret that signs first.

    Raises:
        LookupError: There is none, which cannot be: every endpoint is made with one.
        VaultFault: It cannot be opened.
    """
    live = await store.live(link, endpoint.app_id, endpoint.id, now)
    if not live:
        raise LookupError(endpoint.id)
    return unseal(given, endpoint, live[0])


def unseal(given: Parts, endpoint: Endpoint, sealed: SealedSecret) -> SigningSecret:
    """Open a secret.

    Raises:
        VaultFault: It cannot be opened.
    """
    context = secret_context(endpoint.app_id, endpoint.id)
    key = given.vault.open(sealed.sealed, context=context)
    return SigningSecret(kind=SecretKind(sealed.kind), key=key)
