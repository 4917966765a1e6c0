"""Runs an OPA server as a gateway expects it: `LOCKGATE_OPA_TOKEN=… python -m deploy.opa [ADDRESS]`.

It is for one machine and for tests. Elsewhere run the same command under your own supervisor: `command` has it, with
`authz.rego`, `opa.yaml` and a data file that holds the token's digest and nothing secret.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
INSTALLED = FOLDER.parents[1] / "build" / "tools" / "opa"
"""Where `make opa` puts it."""
ADDRESS = "127.0.0.1:8181"


def program() -> str | None:
    """The installed OPA: that of `make opa`, or one on PATH. None when there is none."""
    return str(INSTALLED) if INSTALLED.exists() else shutil.which("opa")


def command(opa: str, address: str, access: Path) -> list[str]:
    """How the server is started: nothing reaches out, and only the token's holder may use it."""
    return [
        *(opa, "run", "--server", "--addr", address),
        *("--authentication=token", "--authorization=basic"),
        *("--skip-version-check", "--log-level=error"),
        *("--config-file", str(FOLDER / "opa.yaml")),
        *(str(FOLDER / "authz.rego"), str(access)),
    ]


def write_access(folder: Path, token: str) -> Path:
    """The data file by which the server knows the token, without holding it."""
    path = folder / "access.json"
    path.write_text(json.dumps({"access": {"token_sha256": sha256(token.encode()).hexdigest()}}))
    return path


def main() -> None:
    """Run the server in the place of this process."""
    opa, token = program(), os.environ.pop("LOCKGATE_OPA_TOKEN", "")
    if opa is None:
        sys.exit("opa: not installed; run `make opa`")
    if not token:
        sys.exit("opa: LOCKGATE_OPA_TOKEN is not set; whoever could reach the server could decide")
    access = write_access(Path(tempfile.mkdtemp(prefix="lockgate-opa-")), token)
    arguments = command(opa, sys.argv[1] if len(sys.argv) > 1 else ADDRESS, access)
    os.execv(opa, arguments)  # noqa: S606 - a fixed command line


if __name__ == "__main__":
    main()
