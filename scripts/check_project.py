"""Checks what no linter does: the lock files, and that version and changelog agree."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.txt", "requirements-dev.txt")

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)( ; [^\\]+)? \\")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
_ADDRESS = re.compile(r"://|--(extra-)?index|--find-links|(^|\s)/|file:| @ ")
_NEVER = {"schema"}  # installs a package named like one of ours, over it


def lock_faults(name: str, text: str) -> Iterator[str]:
    """Say what is wrong with a lock: each line is a pin, one of its hashes, or a comment."""
    unhashed = ""
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{name}:{number}"
        if _ADDRESS.search(line):
            yield f"{where}: holds an address: {line.strip()}"
        if _HASH.fullmatch(line):
            unhashed = ""
        elif pin := _PIN.fullmatch(line):
            yield from _pin_faults(where, pin, unhashed)
            unhashed = pin["name"]
        elif line.strip() and not line.lstrip().startswith("#"):
            yield f"{where}: is neither a pin nor a hash: {line.strip()}"
    if unhashed:
        yield f"{name}: {unhashed} has no hash"


def _pin_faults(where: str, pin: re.Match[str], unhashed: str) -> Iterator[str]:
    if unhashed:
        yield f"{where}: {unhashed} before it has no hash"
    if pin["name"].lower() in _NEVER:
        yield f"{where}: {pin['name']} may not be installed"


def pins(text: str) -> dict[tuple[str, str], str]:
    """Give the versions of a lock, by name and marker."""
    found = [_PIN.fullmatch(line) for line in text.splitlines()]
    return {(pin["name"], pin[3] or ""): pin["version"] for pin in found if pin}


def disagreements(runtime: str, dev: str) -> Iterator[str]:
    """Say where the lock of the tools is no superset of the lock of the product."""
    every = pins(dev)
    for one, version in pins(runtime).items():
        if every.get(one) != version:
            yield f"{one[0]}{one[1]}: {LOCKS[0]} has {version}, {LOCKS[1]} {every.get(one)}"


def version_faults(project: str, changelog: str) -> Iterator[str]:
    """Say whether the changelog's newest version is another one than the project's."""
    version = tomllib.loads(project)["project"]["version"]
    newest = re.search(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    if newest is None or newest[1] != version:
        told = newest[1] if newest else "no version"
        yield f"pyproject.toml says {version}, CHANGELOG.md {told}"


def main() -> int:
    """Print every fault; the exit code says whether there was one."""
    texts = {name: (ROOT / name).read_text() for name in LOCKS}
    faults = [fault for name, text in texts.items() for fault in lock_faults(name, text)]
    faults += disagreements(texts[LOCKS[0]], texts[LOCKS[1]])
    project, changelog = (ROOT / "pyproject.toml", ROOT / "CHANGELOG.md")
    faults += version_faults(project.read_text(), changelog.read_text())
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
