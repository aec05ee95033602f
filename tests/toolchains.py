"""Other people's libraries in other languages, as lock files in the tests pin them.

What is installed stays where it is until its lock changes; workers that want the same wait for each
other.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
NPM_DIR = TESTS / "npm"
INSTALL_S = 240
_STAMP = ".installed-lock"


def tool(name: str) -> str:
    """Give the path of a program that must be there."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is needed to try what others wrote with Hookline", pytrace=False)
    return path


def run(*command: str, cwd: Path, within_s: float = INSTALL_S) -> None:
    """Run a command that must do well."""
    done = subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
        env={**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"},
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-2_000:]  # Maven tells its errors to stdout
        pytest.fail(f"{' '.join(command)} failed:\n{said}", pytrace=False)


def node_modules() -> Path:
    """Install the libraries for Node; give their folder."""
    modules = NPM_DIR / "node_modules"
    npm = tool("npm")
    _once(
        NPM_DIR / "package-lock.json",
        modules,
        lambda: run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=NPM_DIR),
    )
    return modules


def go_program(source: Path, target: Path) -> Path:
    """Build a program whose `go.mod` and `go.sum` stand beside it; give its path."""
    run(tool("go"), "build", "-o", str(target), ".", cwd=source)
    return target


def python_of(folder: Path) -> Path:
    """Make a Python that has what a folder's `requirements.txt` pins; give its path."""
    home = folder / ".venv"
    python = home / "bin" / "python"

    def install() -> None:
        run(sys.executable, "-m", "venv", "--clear", str(home), cwd=folder)
        quiet = ("--quiet", "--disable-pip-version-check")
        locked = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
        run(
            *(str(python), "-m", "pip", "install", *quiet, *locked, "-r", "requirements.txt"),
            cwd=folder,
        )

    _once(folder / "requirements.txt", home, install)
    return python


def _once(lock: Path, home: Path, install: Callable[[], None]) -> None:
    """Install unless this very lock is installed."""
    stamp = home / _STAMP
    wanted = sha256(lock.read_bytes()).hexdigest()
    with lock.open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            install()
            stamp.write_text(wanted)
