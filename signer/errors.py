"""What can go wrong with keys. No message ever holds a secret, a key or a part of one.

SignerError
|-- NoSecret       a signer was asked for without a single secret
|-- SecretFault    the text of a signing secret cannot be used   (also a ValueError)
|-- CertificateFault   certificates or a private key cannot be used (also a ValueError)
|-- KeyringFault   the text or the keys of a keyring cannot be used (also a ValueError)
`-- VaultFault     a sealed value cannot be opened
"""

from collections.abc import Sequence


class SignerError(Exception):
    """Something is wrong with a key, a secret or a sealed value."""


class NoSecret(SignerError):
    """A signer was asked for without a single secret, so it could sign nothing."""

    def __init__(self) -> None:
        super().__init__("a signer needs at least one secret")


class SecretFault(SignerError, ValueError):
    """The text of a signing secret cannot be used; the message says what is wrong with it."""


class CertificateFault(SignerError, ValueError):
    """Certificates or a private key cannot be used; the message says why, and what would do."""


class KeyringFault(SignerError, ValueError):
    """A keyring cannot be used. `faults` lists everything that is wrong with it, in order."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("the keyring cannot be used: " + "; ".join(faults))
        self.faults = tuple(faults)


class VaultFault(SignerError):
    """A sealed value cannot be opened; the message says what to do.

    `key_id` is the key it claims to be sealed under, None when it does not even say that.
    """

    def __init__(self, problem: str, *, key_id: str | None = None) -> None:
        super().__init__(problem)
        self.key_id = key_id
