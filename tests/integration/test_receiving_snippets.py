"""The receivers in docs/receiving.md work as they stand there: they take what we sign, only that.

Libraries come from the lock files in `tests/npm` and `tests/go`, as ordinary packages.
"""

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signer.secret import SigningSecret, generate
from signer.standard import Signer
from tests.toolchains import TESTS, go_program, node_modules, tool

pytestmark = pytest.mark.timeout(300)  # the first run installs

PAGE = TESTS.parent / "docs" / "receiving.md"
START_S = 60
MESSAGE_ID = "msg_2zXn4kFwWq0c1TtQmJ8vL3sYbRd"
BODY = '{"name":"Zoë", "amount": 1.0}'.encode()


def snippet(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"docs/receiving.md has {len(found)} programs in {language}"
    program: str = found[0]
    return program


def python_program(folder: Path) -> list[str]:
    program = folder / "receiver.py"
    program.write_text(snippet("python"))
    return [sys.executable, str(program)]


def javascript_program(folder: Path) -> list[str]:
    (folder / "node_modules").symlink_to(node_modules())
    program = folder / "receiver.mjs"
    program.write_text(snippet("javascript"))
    return [tool("node"), str(program)]


def built_program(folder: Path) -> list[str]:
    for name in ("go.mod", "go.sum"):
        shutil.copy(TESTS / "go" / name, folder)
    (folder / "main.go").write_text(snippet("go"))
    return [str(go_program(folder, folder / "receiver"))]


PROGRAMS: dict[str, Callable[[Path], list[str]]] = {
    "python": python_program,
    "javascript": javascript_program,
    "go": built_program,
}


@contextmanager
def running(command: list[str], secret: SigningSecret) -> Iterator[int]:
    """Run a receiver; gives the port that it listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    environ = {**os.environ, "WEBHOOK_SECRET": secret.text, "PORT": str(port)}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            until_it_listens(process, port)
            yield port
        finally:
            process.kill()


def until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None and process.stdout is not None:
            pytest.fail(f"the receiver ended:\n{process.stdout.read().decode()}", pytrace=False)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the receiver does not listen", pytrace=False)


def post(port: int, body: bytes, *, signer: Signer, signed: bytes, age_s: int = 0) -> int:
    at = int(time.time()) - age_s  # the libraries look at the real clock
    headers = {
        "Content-Type": "application/json",
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": str(at),
        "webhook-signature": signer.sign(MESSAGE_ID, at, signed),
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/webhook", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_receiver_on_the_page_takes_what_we_sign_and_only_that(
    language: str, tmp_path: Path
) -> None:
    old, current = generate(), generate()
    rotating, stranger = Signer([current, old]), Signer([generate()])
    command = PROGRAMS[language](tmp_path)

    with running(command, old) as port:
        answers = {
            "signed during a rotation": post(port, BODY, signer=rotating, signed=BODY),
            "tampered with": post(port, BODY + b" ", signer=rotating, signed=BODY),
            "signed by a stranger": post(port, BODY, signer=stranger, signed=BODY),
            "ten minutes old": post(port, BODY, signer=rotating, signed=BODY, age_s=600),
        }

    assert answers == {
        "signed during a rotation": 204,
        "tampered with": 400,
        "signed by a stranger": 400,
        "ten minutes old": 400,
    }


def test_every_language_has_a_snippet() -> None:
    languages = ["python", "javascript", "go", "ruby", "java", "php", "csharp", "rust"]

    lengths = [len(snippet(language)) for language in languages]

    assert all(lengths)
