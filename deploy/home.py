"""The data directory of an installation: what lies where, who holds it, which version made it.

Only `hookline up` makes one and holds it; the other commands read `env` and the keys from it.
"""

import fcntl
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from deploy.faults import StartFault

LAYOUT: Final = "1"  # grows when something in the directory moves or changes its form
_LOG_BYTES: Final = 10 * 1024 * 1024
_PRIVATE: Final = 0o700
_PASSABLE: Final = 0o711  # root lends its servers another account, which has to pass


@dataclass(frozen=True, slots=True)
class Home:
    """The directory and the names in it. `root` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> Self:
        """Name a directory; nothing is made or read."""
        return cls(path.expanduser().absolute())

    @property
    def version(self) -> Path:
        """The layout that this directory has."""
        return self.root / "VERSION"

    @property
    def postgres(self) -> Path:
        """The data of the embedded Postgres."""
        return self.root / "postgres"

    @property
    def nats(self) -> Path:
        """The stream, as the embedded NATS stores it."""
        return self.root / "nats"

    @property
    def run(self) -> Path:
        """What belongs to a running installation: sockets, ports, metrics of processes."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """What Postgres and NATS print."""
        return self.root / "log"

    @property
    def env(self) -> Path:
        """Where the running installation is, to source in a shell."""
        return self.root / "env"

    @property
    def operator_key(self) -> Path:
        """The key that may do everything."""
        return self.root / "operator.key"

    @property
    def vault_keys(self) -> Path:
        """The keys that seal secrets in the database. Without them those are lost."""
        return self.root / "vault.keys"


@contextmanager
def hold(home: Home) -> Iterator[None]:
    """Make the directory if need be, and keep it from others.

    Raises:
        StartFault: It is held by another `hookline up`, of another layout, or not ours at all.
    """
    with _permitted(home):
        home.root.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in home.root.iterdir()} - {"lock"}
        if names and home.version.name not in names:
            raise StartFault(f"{home.root} is not empty and no data directory of Hookline")
        lock = (home.root / "lock").open("a")
    with lock:
        _lock(lock.fileno(), home)
        with _permitted(home):
            _check_version(home)
            for directory in (home.root, home.run, home.log):
                directory.mkdir(exist_ok=True)
                directory.chmod(_PRIVATE if os.geteuid() else _PASSABLE)
        yield


@contextmanager
def _permitted(home: Home) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StartFault(f"cannot use {home.root}: {error.strerror}: {error.filename}") from error


def _lock(descriptor: int, home: Home) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartFault(f"another `hookline up` is running on {home.root}") from None


def _check_version(home: Home) -> None:
    if not home.version.exists():
        home.version.write_text(f"{LAYOUT}\n")
    found = home.version.read_text().strip()
    if found != LAYOUT:
        raise StartFault(
            f"{home.root} has layout {found or 'unknown'}, this version of Hookline reads {LAYOUT};"
            " start the version that made it, or give another --home"
        )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_env(home: Home, values: Mapping[str, str]) -> None:
    """Write the file that a person sources to reach the running installation."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    write_private(home.env, "".join(lines))


def read_env(home: Home) -> dict[str, str]:
    """Read back what `write_env` wrote; empty when there is none that we may read."""
    try:
        words = shlex.split(home.env.read_text())
    except (OSError, ValueError):
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def open_log(path: Path) -> int:
    """Open a log for appending and give its descriptor; a large one is put aside first."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def last_line(path: Path, *, marks: tuple[str, ...], start: int) -> str:
    """Give the last line of a log that has one of the marks, or the last line of all.

    Args:
        path: The log.
        marks: What the lines that matter have in them.
        start: Where to begin, in bytes: what stands before is of an earlier run.
    """
    try:
        with path.open("rb") as log:
            log.seek(start)
            lines = log.read(_LOG_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    marked = [line for line in lines if any(mark in line for mark in marks)]
    return (marked or lines or [""])[-1].strip()
