"""Certificates and access tokens of endpoints, described."""

from typing import Final

from gateway.oauth_fields import (
    ALGORITHMS,
    MAX_ASSERTION_S,
    MAX_CLIENT_ID,
    MAX_KEY_ID,
    MAX_PARAM,
    MAX_PARAMS,
    MAX_REFRESH_TOKEN,
    MAX_SCOPES,
    MAX_SECRET,
    SCOPE_PATTERN,
)
from gateway.openapi.describe import NOTHING, Resource, Said, done
from gateway.openapi.shape import (
    FLAG,
    TEXT,
    TIME,
    about,
    many,
    maybe,
    named,
    ref,
    text,
    thing,
    whole,
    word,
)
from gateway.routes.endpoint import ONE
from schema.header_rules import MAX_HEADERS, MAX_VALUE
from schema.oauth import AuthMethod, GrantType
from signer.certificate import MAX_PEM_CHARS

_PARAMS: Final = named(text(most=MAX_PARAM), maxProperties=MAX_PARAMS)
_HEADERS: Final = named(text(most=MAX_VALUE), maxProperties=MAX_HEADERS)
_URL: Final = {**text(least=1), "format": "uri"}

ENDPOINT_ACCESS: Final = Resource(
    tag="Endpoint Access",
    about="How an endpoint's server is verified, as whom we go to it, and with which tokens.",
    shapes={
        "EndpointServerCaIn": thing(
            {},
            {
                "cert": about(
                    maybe(text(most=MAX_PEM_CHARS)),
                    "Certificates as PEM, of authorities or the server's own; null is the usual "
                    "authorities.",
                )
            },
        ),
        "EndpointServerCaOut": thing({"cert": maybe(TEXT), "expiresAt": maybe(TIME)}),
        "EndpointMtlsConfigIn": thing(
            {
                "identity": about(
                    text(least=1, most=MAX_PEM_CHARS),
                    "A private key (RSA, EC or Ed25519, not encrypted) and its certificate as PEM, "
                    "with the certificates above it.",
                )
            }
        ),
        "EndpointMtlsConfigOut": thing({"subject": TEXT, "expiresAt": TIME}),
        "EndpointMtlsOut": thing({"enabled": FLAG, "config": maybe(ref("EndpointMtlsConfigOut"))}),
        "ClientSecretJwtParamsIn": thing(
            {
                "secretBase64": about(
                    text(least=1), "An RSA private key of 2048 to 4096 bits, PEM or DER, as base64."
                ),
                "signingAlgorithm": word(ALGORITHMS),
            },
            {
                "secretId": about(maybe(text(least=1, most=MAX_KEY_ID)), "The `kid` of the JWT."),
                "tokenExpirySecs": about(maybe(whole(1, MAX_ASSERTION_S)), "300 if absent."),
            },
        ),
        "EndpointOauthConfigIn": thing(
            {
                "grantType": word(GrantType),
                "authMethod": word(AuthMethod),
                "clientId": text(least=1, most=MAX_CLIENT_ID),
                "tokenUrl": _URL,
            },
            {
                "clientSecret": about(
                    maybe(text(most=MAX_SECRET)),
                    "Needed for `clientSecretBasic` and `clientSecretPost`.",
                ),
                "jwtParams": about(
                    maybe(ref("ClientSecretJwtParamsIn")), "Needed for `clientSecretJwt`."
                ),
                "refreshToken": about(
                    maybe(text(most=MAX_REFRESH_TOKEN)), "Needed for the grant `refreshToken`."
                ),
                "scopes": maybe(many(text(pattern=SCOPE_PATTERN), most=MAX_SCOPES)),
                "extraParams": about(
                    maybe(_PARAMS), "Sent in the body of the request for a token."
                ),
                "extraHeaders": about(maybe(_HEADERS), "Sent with the request, for a token."),
            },
        ),
        "EndpointOauthConfigOut": thing(
            {
                "grantType": word(GrantType),
                "authMethod": word(AuthMethod),
                "clientId": TEXT,
                "tokenUrl": TEXT,
                "scopes": maybe(many(TEXT)),
                "extraParams": about(named(), "`***` where the name is that of a secret."),
                "extraHeaders": about(named(), "`***` where the name is that of a credential."),
            }
        ),
        "EndpointOauthOut": thing(
            {"enabled": FLAG, "config": maybe(ref("EndpointOauthConfigOut"))}
        ),
    },
    operations={
        f"GET {ONE}/ca": Said(
            id="v1.endpoint.get-server-ca",
            summary="Give what its server is verified by instead of the usual authorities.",
            answers=done(ref("EndpointServerCaOut")),
        ),
        f"PUT {ONE}/ca": Said(
            id="v1.endpoint.set-server-ca",
            summary="Set what its server is verified by; null is the usual authorities.",
            body=ref("EndpointServerCaIn"),
            answers=NOTHING,
        ),
        f"GET {ONE}/mtls": Said(
            id="v1.endpoint.get-mtls",
            summary="Say as whom it is gone to; 404 if nobody is named.",
            answers=done(ref("EndpointMtlsConfigOut")),
        ),
        f"PUT {ONE}/mtls": Said(
            id="v1.endpoint.set-mtls-config",
            summary="Set a private key and its certificate, for a server that asks for one.",
            body=ref("EndpointMtlsConfigIn"),
            answers=NOTHING,
        ),
        f"DELETE {ONE}/mtls": Said(
            id="v1.endpoint.delete-mtls-config",
            summary="Name nobody any more.",
            answers=NOTHING,
        ),
        f"GET {ONE}/mtls-config": Said(
            id="v1.endpoint.get-mtls-2",
            summary="Say whether somebody is named, and who.",
            answers=done(ref("EndpointMtlsOut")),
        ),
        f"GET {ONE}/oauth": Said(
            id="v1.endpoint.get-oauth",
            summary="Give how access tokens are got, without secrets; 404 if there are none.",
            answers=done(ref("EndpointOauthConfigOut")),
        ),
        f"PUT {ONE}/oauth": Said(
            id="v1.endpoint.set-oauth-config",
            summary="Set how access tokens for its requests are got.",
            body=ref("EndpointOauthConfigIn"),
            answers=NOTHING,
        ),
        f"DELETE {ONE}/oauth": Said(
            id="v1.endpoint.delete-oauth-config",
            summary="Send no access tokens any more.",
            answers=NOTHING,
        ),
        f"GET {ONE}/oauth-config": Said(
            id="v1.endpoint.get-oauth-2",
            summary="Say whether requests have access tokens, and how they are got.",
            answers=done(ref("EndpointOauthOut")),
        ),
    },
)
