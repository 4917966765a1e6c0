"""What is installed is what the lock installed: nothing was planted that Python runs by itself."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from admin import installed
from tests.architecture.tree import ROOT

GOOD = b"x = 1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One distribution of one module, as an installer leaves it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(GOOD).digest()).decode().rstrip("=")
    (tmp_path / "good.py").write_bytes(GOOD)
    information = tmp_path / "good-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: good\nVersion: 1\n")
    (information / "RECORD").write_text(
        f"good.py,sha256={digest},{len(GOOD)}\ngood-1.dist-info/METADATA,,\ngood-1.dist-info/RECORD,,\n"
    )
    return tmp_path.resolve()


def test_this_environment_is_as_it_was_installed() -> None:
    """
    M07: in the environment that the tests run in, nothing was planted, and no file of code was changed.
    """
    command = [sys.executable, "-I", "-S", str(ROOT / "admin" / "installed.py"), sysconfig.get_paths()["purelib"]]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_an_installed_folder_is_good(folder: Path) -> None:
    """
    M07: what an installer leaves is not complained about.
    """
    assert installed.examine(folder) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("zz.pth", b"import os; os.system('id')\n", "runs before every program"),
        ("sitecustomize.py", b"print(1)\n", "runs before every program"),
        ("usercustomize.py", b"print(1)\n", "runs before every program"),
        ("requests.py", b"print(1)\n", "belongs to no distribution"),
        ("good.py", b"x = 2\n", "is not as it was installed"),
        ("good.py", None, "is not as it was installed"),
    ],
)
def test_what_was_planted_or_changed_is_found(folder: Path, name: str, content: bytes | None, said: str) -> None:
    """
    M07: a planted `.pth` or module, and a changed or removed file, is named.
    """
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)

    found = installed.examine(folder)

    assert len(found) == 1
    assert found[0].startswith(name)
    assert said in found[0]
