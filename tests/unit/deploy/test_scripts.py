import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
PIN = "idna==3.20 \\\n    --hash=sha256:" + "a" * 64 + "\n"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check() -> ModuleType:
    return script("check_project")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_our_locks_are_pinned_by_hash_and_hold_no_address(check: ModuleType, name: str) -> None:
    assert list(check.lock_faults(name, (ROOT / name).read_text())) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("idna==3.20\n", "neither a pin nor a hash"),
        ("idna>=3 \\\n    --hash=sha256:" + "a" * 64 + "\n", "neither a pin nor a hash"),
        ("idna==3.20 \\\n" + PIN, "idna before it has no hash"),
        (PIN + "idna==3.20 \\\n", "idna has no hash"),
        ("--index-url https" + "://example.org/simple\n" + PIN, "holds an address"),
        ("--find-links /opt/wheels\n" + PIN, "holds an address"),
        ("# compiled in /home/me\n" + PIN, "holds an address"),
        (PIN.replace("idna", "schema"), "schema may not be installed"),
    ],
)
def test_a_faulty_lock_is_found_out(check: ModuleType, text: str, word: str) -> None:
    faults = list(check.lock_faults("x", text))

    assert any(word in fault for fault in faults)


def test_the_tools_lock_holds_the_products_versions(check: ModuleType) -> None:
    other = PIN.replace("3.20", "3.21")

    assert list(check.disagreements(PIN, PIN + PIN.replace("idna", "ruff"))) == []
    assert len(list(check.disagreements(PIN, other))) == 1
    assert len(list(check.disagreements(PIN, ""))) == 1


def test_the_changelog_tells_of_the_projects_version(check: ModuleType) -> None:
    project = '[project]\nversion = "0.2.0"\n'

    assert list(check.version_faults(project, "## [0.2.0] - unreleased\n## [0.1.0]\n")) == []
    assert list(check.version_faults(project, "## [0.1.0]\n")) != []
    assert list(check.version_faults(project, "")) != []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the scripts that make `.venv`, and a lock that holds nothing."""
    (tmp_path / "scripts").mkdir()
    for name in ("setup", "make_venv.py"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "bin").mkdir()
    return tmp_path


@pytest.fixture
def set_up(checkout: Path) -> Callable[[], "subprocess.CompletedProcess[str]"]:
    """Runs scripts/setup with nothing on PATH but the checkout's `bin` and the usual tools."""
    for tool in ("dirname", "sh"):
        (checkout / "bin" / tool).symlink_to(shutil.which(tool) or "")

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [checkout / "scripts" / "setup", "requirements.txt"],
            env={"PATH": str(checkout / "bin")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def fake_python(checkout: Path, name: str, body: str) -> None:
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


SAYS_VERSION = 'case "$2" in *%d*) echo {}; exit 0;; *version_info*) exit {};; *) exit {};; esac'
Run = Callable[[], "subprocess.CompletedProcess[str]"]


def test_a_machine_without_python_is_told_what_is_needed(set_up: Run) -> None:
    done = set_up()

    assert done.returncode == 1
    assert done.stderr == "hookline: needs Python 3.11 or newer; found: none.\n"


def test_a_machine_with_an_old_python_is_told_what_was_found(set_up: Run, checkout: Path) -> None:
    fake_python(checkout, "python3", SAYS_VERSION.format("3.9", 1, 0))

    done = set_up()

    assert done.returncode == 1
    assert done.stderr == "hookline: needs Python 3.11 or newer; found: 3.9.\n"


def test_a_python_without_venv_is_told_what_to_install(set_up: Run, checkout: Path) -> None:
    fake_python(checkout, "python3", SAYS_VERSION.format("3.12", 0, 1))

    done = set_up()

    assert done.returncode == 1
    assert "apt install python3.12-venv" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_python_that_will_do_is_found_behind_those_that_will_not(
    set_up: Run, checkout: Path
) -> None:
    fake_python(checkout, "python3", SAYS_VERSION.format("3.9", 1, 0))
    fake_python(checkout, "python3.13", "echo no such version installed >&2; exit 127")
    good = SAYS_VERSION.format("3.12", 0, 0)
    fake_python(checkout, "python3.12", f'test "$1" = -c || {{ echo ran "$@"; exit; }}; {good}')

    done = set_up()

    assert done.stdout == f"ran {checkout}/scripts/make_venv.py {checkout} requirements.txt\n"


def test_a_venv_counts_only_when_it_was_made_to_its_end_here_and_of_this(checkout: Path) -> None:
    make = script("make_venv")
    target = checkout / ".venv"
    (target / "bin").mkdir(parents=True)
    (target / "bin" / "hookline").touch()
    (target / "bin" / "python").symlink_to(sys.executable)

    def is_current(root: Path = checkout) -> bool:
        return make.main(root, make.ALONE, only_look=True) == 0

    assert not is_current()
    (target / ".made").write_text(make._circumstances(checkout))
    assert not is_current()
    (target / ".installed-requirements.txt").write_text(make._content(checkout, make.ALONE))
    assert is_current()
    (checkout / "requirements.txt").write_text(PIN)
    assert not is_current()
    (checkout / "requirements.txt").write_text("")
    assert is_current()
    moved = checkout.with_name("moved")
    shutil.copytree(checkout, moved, symlinks=True)
    assert not is_current(moved)
    (target / "bin" / "python").unlink()
    assert not is_current()


def test_a_checkout_that_may_not_be_written_is_one_line(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = script("make_venv")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(checkout / ".venv"))

    monkeypatch.setattr(make.venv, "create", refuse)

    code = make.main(checkout, make.ALONE, only_look=False)

    assert code == 1
    assert capsys.readouterr().err.startswith(f"hookline: cannot make {checkout}/.venv: ")


@pytest.mark.parametrize("name", ["up", "test", "check", "setup"])
def test_scripts_are_plain_sh_and_may_be_run(name: str) -> None:
    path = ROOT / "scripts" / name

    assert path.read_text().startswith("#!/bin/sh\n")
    assert os.access(path, os.X_OK)
    assert subprocess.run(["/bin/sh", "-n", str(path)], check=False).returncode == 0
