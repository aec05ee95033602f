"""The contexts of TLS: what a server is verified by, and as whom we go to it. TLS 1.2 or newer.

Certificates are verified; revocation lists are not fetched. Reading the standard authorities takes
some 50 ms and a megabyte each time, in which other threads go on.
"""

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile


def client_context(authorities: str | None = None, identity: bytes | None = None) -> ssl.SSLContext:
    """Make a context for requests.

    Args:
        authorities: Certificates as PEM, of which one must vouch for the server or be its own;
            None is those that the system trusts.
        identity: A private key and certificates as PEM, for servers that want to know who we are.

    Raises:
        ssl.SSLError: OpenSSL does not take them.
    """
    if authorities is None:
        context = _ours(ssl.create_default_context())
    else:
        context = bare_context()
        trust(context, authorities)
    if identity is not None:
        identify(context, identity)
    return context


def bare_context() -> ssl.SSLContext:
    """Make a context that trusts nobody yet."""
    return _ours(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # verifies certificates and names


def trust(context: ssl.SSLContext, authorities: str) -> None:
    """Have a context verify servers by these certificates, whether they stand at a root or not."""
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=authorities)


def identify(context: ssl.SSLContext, identity: bytes) -> None:
    """Have a context say who we are."""
    with _as_file(identity) as path:  # OpenSSL's Python reads keys from files only
        context.load_cert_chain(path)


def _ours(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Lend a path to something secret; where the system can, no disk ever sees it."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("identity")
        with open(descriptor, "wb", buffering=0) as memory:  # noqa: PTH123 it has no path
            memory.write(content)
            yield f"/proc/self/fd/{descriptor}"
    else:
        with NamedTemporaryFile() as file:  # for our user alone
            file.write(content)
            file.flush()
            yield file.name
