"""Makes `.venv`, or brings it up to date, and says so; does nothing when nothing changed.

Marks in `.venv` say how it was made and hold digests of what was installed. They are removed before
a change and written after it, so that what was interrupted is made anew. A lock makes the second of
two starts wait.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = "pyproject.toml"
MADE = ".made"  # in .venv, once it was made to its end
ALONE = "requirements.txt"
WITH_TOOLS = "requirements-dev.txt"  # holds all of the other at the same versions


def main(root: Path, requirements: str, *, only_look: bool) -> int:
    """Make `.venv` of `root` hold a file of requirements and the project; gives an exit code.

    Args:
        root: The checkout.
        requirements: One of its lock files.
        only_look: Change nothing; the exit code says whether there is nothing to do.
    """
    target = root / ".venv"
    if only_look:
        return 0 if _is_current(root, target, requirements) else 1
    try:
        with _alone(root):
            if not _is_current(root, target, requirements):
                _install(root, target, requirements)
    except OSError as error:
        return _say(f"cannot make {target}: {error}")
    except KeyboardInterrupt:
        return _say("interrupted; the next start makes .venv anew")
    except subprocess.CalledProcessError as error:
        return _say(f"installing {requirements} failed (exit {error.returncode}); see above")
    return 0


def _say(fault: str) -> int:
    print(f"hookline: {fault}", file=sys.stderr)
    return 1


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the checkout's lock."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("hookline: another start is making .venv; waiting for it", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_current(root: Path, target: Path, requirements: str) -> bool:
    mark = _mark(target, requirements)
    return (
        _is_whole(root, target)
        and mark.exists()
        and mark.read_text() == _content(root, requirements)
    )


def _is_whole(root: Path, target: Path) -> bool:
    """Tell whether a `.venv` was made to its end, here, by a Python that is still there."""
    made = target / MADE
    programs = [target / "bin" / name for name in ("python", "hookline")]
    return (
        made.exists()
        and made.read_text() == _circumstances(root)
        and all(program.exists() for program in programs)
    )


def _install(root: Path, target: Path, requirements: str) -> None:
    whole = _is_whole(root, target)
    print(f"hookline: {'updating' if whole else 'making'} .venv (a minute or so)", flush=True)
    (target / MADE).unlink(missing_ok=True)
    if not whole:
        shutil.rmtree(target, ignore_errors=True)
        venv.create(target, with_pip=True)
    for name in (ALONE, WITH_TOOLS):
        _mark(target, name).unlink(missing_ok=True)
    locked = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
    _pip(target, *locked, "-r", str(root / requirements))
    _pip(target, "--no-deps", "--no-build-isolation", "--editable", str(root))
    for name in {requirements, ALONE}:
        _mark(target, name).write_text(_content(root, name))
    (target / MADE).write_text(_circumstances(root))


def _pip(target: Path, *arguments: str) -> None:
    pip = (target / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    subprocess.run((*pip, "install", *arguments), check=True)


def _mark(target: Path, requirements: str) -> Path:
    return target / f".installed-{requirements}"


def _content(root: Path, requirements: str) -> str:
    """Sum up what is installed: the lock, and what the project says of itself."""
    project = tomllib.loads((root / PROJECT).read_text())
    told = repr((project["build-system"], project["project"], project["tool"]["hatch"]))
    lock = (root / requirements).read_bytes()
    return hashlib.sha256(lock + b"\0" + told.encode()).hexdigest()


def _circumstances(root: Path) -> str:
    """Say where and by which Python: programs in a `.venv` hold both."""
    return f"{root} {sys.version}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], only_look="--is-current" in sys.argv))
