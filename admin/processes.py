"""Commands that become another program: serve, dev, demo. The process is replaced: signals reach the gateway itself."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from admin.errors import CommandError, Exit
from admin.identities import PREFIX, SOURCE
from admin.options import offline

app = typer.Typer()


@app.command()
@offline
def serve() -> Exit:
    """Run the gateway; settings come from LOCKGATE_… (docs/settings.md)."""
    _become("gateway")


@app.command()
@offline
def dev() -> Exit:
    """Run a seeded gateway for development on loopback; writes build/dev.json."""
    _become("deploy.demo.dev")


@app.command()
@offline
def demo() -> Exit:
    """Tell the whole story on a database of its own; ends by itself."""
    _become("deploy.demo")


def _become(module: str) -> NoReturn:
    if module != "gateway" and not (SOURCE / "deploy").is_dir():
        raise CommandError(
            "development and demonstration need the source tree", "clone the repository and run `make demo` in it"
        )
    os.chdir(SOURCE if module != "gateway" else os.getcwd())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SOURCE), environment.get("PYTHONPATH"))))
    # -P: a folder `gateway` where the user stands must not be mistaken for ours.
    command = [sys.executable, "-P", "-m", module]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter and a fixed module name
