"""Data homes for one process at a time; some of them begin empty."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.storage import places

SETTLED_SECONDS = 10  # A database whose owner was killed ends by itself within this time.


class Busy(Exception):
    """Another process works in the home; the message says which file shows it."""


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Keep every other process out of `home` during the body. Raises `Busy` while one is inside."""
    places.prepare(home.parent, places.account("nobody"))
    with _locked(home.with_name(home.name + ".lock"), seconds=0):
        yield


@contextmanager
def fresh(home: Path) -> Iterator[None]:
    """As `alone`, with an empty `home`; removed when the body went well, left to be looked at otherwise."""
    with alone(home):
        _remove(home)
        yield
        _remove(home)


def _remove(home: Path) -> None:
    keeper = home / "keeper.lock"
    if keeper.exists():
        # Who removes a running server's files leaves it writing to nowhere.
        with _locked(keeper, seconds=SETTLED_SECONDS):
            pass
    with suppress(FileNotFoundError):
        shutil.rmtree(home)


@contextmanager
def _locked(path: Path, *, seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _lock(descriptor):
            if time.monotonic() > until:
                raise Busy(f"another process holds `{path}`: wait until it has ended")
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
