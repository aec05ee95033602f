"""As whom the embedded servers run: Postgres refuses to run as root, so root lends an account."""

import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.faults import StartFault

_PREFERRED: Final = ("hookline", "postgres", "nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account without root's rights."""

    name: str
    uid: int
    gid: int


def server_account(data: Path) -> Account | None:
    """Choose the account for servers whose data lies in `data`; None is whoever we are.

    Raises:
        StartFault: The data belongs to somebody else, or root has no account to lend.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise StartFault(f"{data} belongs to account {_name(owner)}; start as before")
        return None
    wanted = [owner] if owner else _PREFERRED
    for one in wanted:
        try:
            entry = pwd.getpwuid(one) if isinstance(one, int) else pwd.getpwnam(one)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise StartFault(
        "Postgres does not run as root: make an account for it (useradd --system hookline)"
        " or set DATABASE_URL"
    )


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or 0).pw_name
    except KeyError:
        return str(uid)


def give(account: Account | None, directory: Path) -> None:
    """Make a directory that this account alone enters."""
    directory.mkdir(exist_ok=True)
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    directory.chmod(0o700)


def let_through(account: Account | None, paths: Iterable[Path]) -> list[Path]:
    """Let the account reach `paths`: opens the directories above for passage (o+x), names them."""
    if account is None:
        return []
    opened = []
    ways = [way for path in paths for way in (path.absolute(), path.resolve())]
    above = {parent for way in ways for parent in way.parents}
    for directory in sorted(above):
        status = directory.stat()
        if not _may(account, status, stat.S_IXOTH):
            directory.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
            opened.append(directory)
    return opened


def let_read(account: Account | None, trees: Iterable[Path]) -> None:
    """Let the account read and run what lies in `trees`: installed files, nothing of value."""
    if account is None:
        return
    for tree in trees:
        for path in (tree, *tree.rglob("*")):
            status = path.stat()
            bits = stat.S_IROTH | (stat.S_IXOTH if status.st_mode & stat.S_IXUSR else 0)
            if not _may(account, status, bits):
                path.chmod(stat.S_IMODE(status.st_mode) | bits)


def _may(account: Account, status: os.stat_result, bits: int) -> bool:
    """Tell whether the account has these rights (given as others' bits) to a file."""
    if status.st_uid == account.uid:
        bits <<= 6
    elif status.st_gid == account.gid:
        bits <<= 3
    return status.st_mode & bits == bits
