"""The npm libraries `svix` and `standardwebhooks` accept what we sign, and only that.

They are installed once from `tests/npm/package-lock.json` into the folder beside it.
"""

import json
import subprocess
import time
from base64 import b64encode

import pytest

from signer.secret import SecretKind, SigningSecret, generate
from signer.standard import Signer
from tests.toolchains import NPM_DIR, node_modules, tool

pytestmark = pytest.mark.timeout(300)  # the first run installs

VERIFY_TIMEOUT_S = 30
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = '{"name":"Zoë · 東京 🪝"}'.encode()
LIBRARIES = ["standardwebhooks", "svix"]


@pytest.fixture(scope="module")
def node() -> str:
    """Install the libraries; give node's path."""
    node_modules()
    return tool("node")


def request_line(
    library: str, secret: SigningSecret, signer: Signer, *, body: bytes = BODY, sent: bytes = BODY
) -> str:
    # The libraries look at the real clock.
    timestamp = int(time.time())
    return json.dumps(
        {
            "library": library,
            "secret": secret.text,
            "headers": {
                "webhook-id": MESSAGE_ID,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signer.sign(MESSAGE_ID, timestamp, body),
            },
            "body_base64": b64encode(sent).decode(),
        }
    )


def verify_all(node: str, lines: list[str]) -> list[str]:
    done = subprocess.run(
        [node, "verify.mjs"],
        cwd=NPM_DIR,
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=VERIFY_TIMEOUT_S,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_npm_verifiers_accept_our_signatures(node: str, library: str) -> None:
    secrets = [generate() for _ in range(5)]
    bodies = [BODY, b"{}", b'{ "spaced" :\r\n [1.0] }\n', b'"' + b"x" * 100_000 + b'"', b"[1e3]"]

    answers = verify_all(
        node,
        [
            request_line(library, secret, Signer([secret]), body=body, sent=body)
            for secret, body in zip(secrets, bodies, strict=True)
        ],
    )

    assert answers == ["ok"] * len(bodies)


@pytest.mark.parametrize("library", LIBRARIES)
def test_during_a_rotation_the_npm_verifiers_accept_every_live_secret(
    node: str, library: str
) -> None:
    current, old, dropped = (generate() for _ in range(3))
    signer = Signer([current, old, generate(SecretKind.ED25519)])

    answers = verify_all(
        node, [request_line(library, secret, signer) for secret in (current, old, dropped)]
    )

    assert answers == ["ok", "ok", "fail"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_npm_verifiers_refuse_a_tampered_body(node: str, library: str) -> None:
    secret = generate()

    answers = verify_all(
        node,
        [
            request_line(library, secret, Signer([secret]), sent=BODY + b" "),
            request_line(library, secret, Signer([secret]), sent=BODY.replace(b"Zo", b"zo")),
        ],
    )

    assert answers == ["fail", "fail"]


def test_the_lock_pins_by_hash_and_names_no_address() -> None:
    lock = json.loads((NPM_DIR / "package-lock.json").read_text())

    packages = [package for folder, package in lock["packages"].items() if folder]

    assert all(package["integrity"].startswith("sha512-") for package in packages)
    assert not any("resolved" in package for package in packages)
