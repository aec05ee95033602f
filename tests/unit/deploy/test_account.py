import os
import pwd
import stat
from pathlib import Path

import pytest

from deploy.account import Account, give, let_read, let_through, server_account
from deploy.faults import StartFault

STRANGER = Account(name="stranger", uid=54_321, gid=54_321)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends accounts")
as_anybody = pytest.mark.skipif(os.geteuid() == 0, reason="root lends an account")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@as_anybody
def test_whoever_is_not_root_runs_the_servers_as_themselves(tmp_path: Path) -> None:
    assert server_account(tmp_path / "none") is None
    assert server_account(tmp_path) is None


@as_root
def test_root_lends_an_account_that_is_not_root(tmp_path: Path) -> None:
    account = server_account(tmp_path / "none")

    assert account is not None
    assert account.uid != 0


@as_root
def test_root_goes_on_as_the_account_that_owns_the_data(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(tmp_path, nobody.pw_uid, nobody.pw_gid)

    account = server_account(tmp_path)

    assert account == Account(name="nobody", uid=nobody.pw_uid, gid=nobody.pw_gid)


@as_root
def test_data_of_an_account_that_is_gone_is_one_line(tmp_path: Path) -> None:
    os.chown(tmp_path, STRANGER.uid, STRANGER.gid)

    with pytest.raises(StartFault, match="make an account"):
        server_account(tmp_path)


@as_root
def test_a_given_directory_is_entered_by_the_account_alone(tmp_path: Path) -> None:
    give(STRANGER, tmp_path / "data")

    assert (tmp_path / "data").stat().st_uid == STRANGER.uid
    assert mode(tmp_path / "data") == 0o700


def test_the_way_to_a_file_is_opened_and_no_more(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for directory in (inner, inner.parent):
        directory.chmod(0o700)
    tmp_path.chmod(0o755)
    (inner / "program").touch(0o600)

    opened = let_through(STRANGER, [inner / "program"])
    again = let_through(STRANGER, [inner / "program"])

    assert [path for path in opened if path.is_relative_to(tmp_path)] == [inner.parent, inner]
    assert (mode(inner), mode(inner.parent), mode(tmp_path)) == (0o701, 0o701, 0o755)
    assert mode(inner / "program") == 0o600
    assert again == []


def test_an_installed_tree_is_made_readable_and_never_writable(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    tree.chmod(0o700)
    for name, bits in (("program", 0o700), ("text", 0o600), ("open", 0o644)):
        (tree / name).touch()
        (tree / name).chmod(bits)

    let_read(STRANGER, [tree])

    modes = {path.name: mode(path) for path in (tree, *tree.iterdir())}
    assert modes == {"tree": 0o705, "program": 0o705, "text": 0o604, "open": 0o644}


def test_nothing_is_opened_for_whoever_we_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    opened = let_through(None, [tmp_path / "x"])
    let_read(None, [tmp_path])

    assert opened == []
    assert mode(tmp_path) == 0o700
