"""Set-up: what a machine without the right Python is told, and that a second run does nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy import bootstrap


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the locks and nothing else, as the set-up sees it."""
    (tmp_path / "requirements").mkdir()
    for lock in ("run", "dev"):
        (tmp_path / "requirements" / f"{lock}.txt").write_text(f"{lock}==1\n")
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    monkeypatch.setattr(bootstrap, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(bootstrap, "PYTHON", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.delenv("SETUP_PYTHON", raising=False)
    return tmp_path


def pretend_installed(clone: Path, monkeypatch: pytest.MonkeyPatch, lock: str) -> list[str]:
    """Run the set-up with an installer that only notes what it was asked for."""
    asked: list[str] = []
    (clone / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(bootstrap, "install", asked.append)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", lock])
    bootstrap.main()
    return asked


def test_an_old_python_alone_is_told_what_to_install(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Without Python 3.11 or later on PATH the set-up ends with one sentence, not with a traceback.
    """
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", str(clone))

    with pytest.raises(SystemExit, match="1"):
        bootstrap.find()

    assert "Python 3.11 or later is needed" in capsys.readouterr().err


def test_an_old_python_finds_a_newer_one_on_path(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `python3` may be old where `python3.11` is not; a stub that runs nothing is passed over.
    """
    stub = clone / "python3.11"
    stub.write_text("#!/bin/sh\nexit 127\n")
    stub.chmod(0o755)
    (clone / "python3.12").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", f"{clone}:/bin")

    assert Path(bootstrap.find()).name == "python3.12"


def test_a_python_without_venv_is_told_which_package_to_install(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Where the venv module is missing the message names the package that brings it.
    """
    stub = clone / "python"
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)

    with pytest.raises(SystemExit, match="1"):
        bootstrap.create(str(stub))

    assert "python3-venv" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "second"), [("run", "run"), ("dev", "dev"), ("dev", "run")])
def test_a_second_run_installs_nothing(clone: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str) -> None:
    """
    The stamp is named by the lock's checksum, and developing includes running.
    """
    assert pretend_installed(clone, monkeypatch, first) == [first]
    (clone / ".venv" / "bin" / "python").unlink()

    assert pretend_installed(clone, monkeypatch, second) == []


def test_a_changed_lock_is_installed_anew(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Other content of the lock is another stamp.
    """
    pretend_installed(clone, monkeypatch, "run")
    (clone / ".venv" / "bin" / "python").unlink()
    (clone / "requirements" / "run.txt").write_text("run==2\n")

    assert pretend_installed(clone, monkeypatch, "run") == ["run"]


def test_make_alone_prints_the_targets() -> None:
    """
    `make` shows what there is to do, and does none of it.
    """
    root = Path(bootstrap.__file__).parents[1]

    done = subprocess.run(["make", "-C", str(root)], capture_output=True, text=True, check=True)

    for target in ("help", "demo", "dev", "test", "check", "bench"):
        assert f"make {target} " in done.stdout
