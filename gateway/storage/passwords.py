"""The passwords of an embedded cluster's roles: random, one per role, in one file that only its user may read.

The file has libpq's own format, so that a connection names the file and no password ever stands in a URL, a command
line or the representation of a value. Losing the file loses the way into the cluster.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

FILE = "passwords"


def path(home: Path) -> Path:
    """The file that a connection names as its `passfile`."""
    return home / FILE


def read(home: Path) -> Mapping[str, str]:
    """Every role with its password; empty where nothing was kept yet."""
    try:
        lines = path(home).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return {}
    # Fields: host, port, database, role, password. Neither role nor password contains a colon.
    fields = [line.split(":") for line in lines]
    return {role: password for *_, role, password in fields}


def keep(home: Path, role: str) -> str:
    """The password of `role`, made and kept durably if it has none."""
    with _exclusive(home):
        kept = dict(read(home))
        if role not in kept:
            kept[role] = secrets.token_urlsafe(24)
            _write(home, kept)
        return kept[role]


def _write(home: Path, kept: Mapping[str, str]) -> None:
    partial = path(home).with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"*:*:*:{role}:{password}\n" for role, password in kept.items())
        file.flush()
        # A role whose password did not survive a power cut would lock its cluster for good.
        os.fsync(file.fileno())
    partial.replace(path(home))


@contextmanager
def _exclusive(home: Path) -> Iterator[None]:
    descriptor = os.open(home / "passwords.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
