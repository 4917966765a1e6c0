"""Whether what is installed beside Python is what its distributions installed, and nothing was planted among it.

Files that Python runs before any program (`.pth`, `sitecustomize`, `usercustomize`), importable names that belong to no
distribution, and files whose hash is not the recorded one. What this cannot see: a distribution whose record was
changed with its files; the lock's hashes stop that when it is installed.

Standard library only, and run by `python -I -S`, so that what was planted does not run before it is looked for.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from pathlib import Path

EARLY = (".pth", ".egg-link", ".start")
EARLY_MODULES = ("sitecustomize", "usercustomize")
_OURS_TO_IGNORE = ("__pycache__",)
_CODE = (".py", ".pth", ".so", ".pyi")


def examine(folder: Path) -> list[str]:
    """What is wrong with a folder of installed distributions, a sentence for each file. Empty: nothing is."""
    recorded: dict[Path, str | None] = {}
    for distribution in distributions(path=[str(folder)]):
        recorded.update(_files(distribution))
    owned = {path.relative_to(folder).parts[0] for path in recorded if path.is_relative_to(folder)}
    wrong = []
    for path in sorted(folder.iterdir()):
        is_early = path.suffix in EARLY or path.name.split(".")[0] in EARLY_MODULES
        if is_early and recorded.get(path) is None:
            wrong.append(f"{path.name}: runs before every program, and no distribution installed it")
        elif path.name not in owned and path.name not in _OURS_TO_IGNORE:
            wrong.append(f"{path.name}: belongs to no distribution")
    wrong += [
        f"{path.relative_to(folder)}: is not as it was installed"
        for path, digest in sorted(recorded.items())
        if digest is not None and path.suffix in _CODE and path.is_relative_to(folder) and _digest(path) != digest
    ]
    return wrong


def _files(distribution: Distribution) -> dict[Path, str | None]:
    """Every file that a distribution recorded, with its SHA-256 where it says one."""
    return {
        Path(str(file.locate())).resolve(): file.hash.value if file.hash and file.hash.mode == "sha256" else None
        for file in distribution.files or ()
    }


def _digest(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError:
        return ""  # Removed: other than installed, too.
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


if __name__ == "__main__":
    found = examine(Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_paths()["purelib"]).resolve())
    print("\n".join(found), end="\n" if found else "")  # noqa: T201 - the command's answer
    sys.exit(1 if found else 0)
