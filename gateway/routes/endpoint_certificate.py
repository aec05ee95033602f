"""Certificates of an endpoint: `.../endpoint/{endpoint_id}/ca`, `.../mtls` and `.../mtls-config`.

By `ca` its server is verified; `mtls` is as whom we go to it. A private key is never shown.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.parts import Parts, parts
from gateway.routes.endpoint import ONE, find_endpoint, lock_endpoint, touch
from gateway.routing import AnyOperation, Operation
from schema.api_key import Capability
from schema.certificate import CONTEXT, CertificateKind, EndpointCertificate
from schema.endpoint import secret_context
from schema.errors import NotFound
from schema.store import endpoint_certificate as store
from signer.certificate import Authorities, Identity, read_authorities, read_identity
from signer.errors import CertificateFault

_CA: Final = f"{ONE}/ca"
_MTLS: Final = f"{ONE}/mtls"
_KIND: Final = "MtlsConfig"
_Read = TypeVar("_Read", Authorities, Identity)


def routes() -> list[AnyOperation]:
    """List the operations on an endpoint's certificates."""
    access, secret = Access.TENANT, Capability.MANAGE_ENDPOINT_SECRET
    return [
        Operation(method="GET", path=_CA, access=access, handler=get_authorities),
        Operation(method="PUT", path=_CA, access=access, handler=put_authorities),
        Operation(method="GET", path=_MTLS, access=access, handler=get_identity),
        Operation(method="PUT", path=_MTLS, access=access, handler=put_identity, capability=secret),
        Operation(
            method="DELETE", path=_MTLS, access=access, handler=delete_identity, capability=secret
        ),
        Operation(method="GET", path=f"{_MTLS}-config", access=access, handler=get_status),
    ]


async def get_authorities(request: Request, caller: Caller) -> Response:
    """Give what the endpoint's server is verified by, if it is not the usual authorities."""
    found = await _find(request, caller, CertificateKind.AUTHORITIES)
    if found is None:
        return answer({"cert": None, "expiresAt": None})
    return answer({"cert": found.content.decode(), "expiresAt": found.ends_at})


async def put_authorities(request: Request, caller: Caller) -> Response:
    """Set what the endpoint's server is verified by; null is the usual authorities."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    text = fields.optional_text("cert")
    read = None if text is None else _read(given, fields, "cert", text, read_authorities)
    fields.check()
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        if read is None:
            await store.delete(link, app.id, endpoint.id, CertificateKind.AUTHORITIES)
        else:
            certificate = EndpointCertificate(
                kind=CertificateKind.AUTHORITIES,
                content=read.pem.encode(),
                subject="",
                ends_at=read.ends_at,
                updated_at=given.clock(),
            )
            await store.put(link, app.id, endpoint.id, certificate)
        until = {} if read is None else {"expires_at": read.ends_at.isoformat()}
        await touch(link, given, caller, endpoint, action="set_ca", **until)
    return nothing()


async def get_identity(request: Request, caller: Caller) -> Response:
    """Say as whom we go to the endpoint."""
    found = await _find(request, caller, CertificateKind.IDENTITY)
    if found is None:
        raise NotFound(_KIND)
    return answer(_show(found))


async def get_status(request: Request, caller: Caller) -> Response:
    """Say whether we say who we are, and as whom."""
    found = await _find(request, caller, CertificateKind.IDENTITY)
    return answer({"enabled": found is not None, "config": found and _show(found)})


async def put_identity(request: Request, caller: Caller) -> Response:
    """Set as whom we go to the endpoint: a private key and its certificate."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    text = fields.text("identity", min_length=1)
    read = _read(given, fields, "identity", text, read_identity) if text else None
    fields.check()
    if read is None:  # which is a fault
        raise LookupError("identity")
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        context = secret_context(app.id, endpoint.id, CONTEXT)
        certificate = EndpointCertificate(
            kind=CertificateKind.IDENTITY,
            content=given.vault.seal(read.pem, context=context),
            subject=read.subject,
            ends_at=read.ends_at,
            updated_at=given.clock(),
        )
        await store.put(link, app.id, endpoint.id, certificate)
        until = read.ends_at.isoformat()
        await touch(link, given, caller, endpoint, action="set_mtls", expires_at=until)
    return nothing()


async def delete_identity(request: Request, caller: Caller) -> Response:
    """Say no more who we are."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        await store.delete(link, app.id, endpoint.id, CertificateKind.IDENTITY)
        await touch(link, given, caller, endpoint, action="delete_mtls")
    return nothing()


def _read(
    given: Parts, fields: Fields, name: str, text: str, read: Callable[[str, datetime], _Read]
) -> _Read | None:
    try:
        return read(text, given.clock())
    except CertificateFault as fault:
        fields.fault(name, str(fault))
        return None


def _show(identity: EndpointCertificate) -> dict[str, object]:
    return {"subject": identity.subject, "expiresAt": identity.ends_at}


async def _find(
    request: Request, caller: Caller, kind: CertificateKind
) -> EndpointCertificate | None:
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        endpoint = await find_endpoint(link, request, app)
        return await store.find(link, app.id, endpoint.id, kind)
