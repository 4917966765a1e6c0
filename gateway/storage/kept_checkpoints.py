"""Checkpoints kept in files outside the database, so that a database that was set back is noticed.

After each commit the newest checkpoint of each tenant is appended to `<directory>/<tenant>.jsonl` and flushed, by a
thread of its own: nobody waits for it. While a flush is under way newer checkpoints replace older ones. A crash loses
the last moments of the file, never of the ledger; start-up then finds the database ahead, which is in order.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.logs import log
from gateway.storage import connections
from gateway.storage.connections import Connection
from proofs import canonical, checkpoints, losses, shapes
from proofs.checkpoints import Checkpoint
from proofs.errors import EvidenceError

INTERVAL_SECONDS = 0.2
"""Between flushes under load: five lines a second say as much as five hundred."""
FILE_BYTES_MAX = 8 * 1024 * 1024
"""A longer file becomes `<tenant>.jsonl.1`, replacing the one before: 20,000 checkpoints stay at least."""
_TAIL_BYTES = 64 * 1024
_STOP_SECONDS = 5.0


class LogSetBack(Exception):
    """The database does not hold the log that this directory saw. Nothing may be written until a person has looked."""


class KeptCheckpoints:
    """Takes note of checkpoints. `failure` says why they cannot be kept at present."""

    def __init__(self, directory: Path, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._directory = directory
        self._interval = interval_seconds
        self._newest: dict[str, Checkpoint] = {}
        self._lock = threading.Lock()
        self._noted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lockgate-checkpoints", daemon=True)
        self.failure: OSError | None = None

    def start(self) -> None:
        """Begin to keep notes."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread.start()

    def stop(self) -> None:
        """Flush what was noted and end."""
        self._stopping.set()
        self._noted.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def note(self, noted: Sequence[Checkpoint]) -> None:
        """Keep these as soon as possible. Does not wait."""
        with self._lock:
            self._newest.update((checkpoint.tenant, checkpoint) for checkpoint in noted)
        self._noted.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._noted.wait()
            self._flush()
            self._stopping.wait(self._interval)
        self._flush()

    def _flush(self) -> None:
        self._noted.clear()
        with self._lock:
            newest, self._newest = self._newest, {}
        try:
            for tenant in list(newest):
                append(self._directory, newest[tenant])
                del newest[tenant]
            if self.failure is not None:
                log().info("checkpoints_kept")
            self.failure = None
        except OSError as error:
            if self.failure is None:
                log().error("checkpoints_not_kept", cause=error.strerror, error=error)
            self.failure = error
            with self._lock:  # Tried again; what was noted meanwhile is newer.
                self._newest = newest | self._newest
            self._noted.set()


def append(directory: Path, checkpoint: Checkpoint) -> None:
    """Add a line to the tenant's file; on return it is on the disk."""
    path = _path(directory, checkpoint.tenant)
    if path.exists() and path.stat().st_size > FILE_BYTES_MAX:
        path.replace(path.with_suffix(".jsonl.1"))
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            os.write(file, b"\n")  # A crash tore the last line: it ends here, and is skipped when read.
        os.write(file, canonical.encode(checkpoint.document()) + b"\n")
        os.fdatasync(file) if hasattr(os, "fdatasync") else os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        _flush_directory(directory)


def last(directory: Path, tenant: str) -> Checkpoint | None:
    """
    The largest checkpoint at the end of the tenant's file, None without a file.

    Raises `LogSetBack` when a file is there and no line of it can be read.
    """
    path = _path(directory, tenant)
    tail = _tail(path) or _tail(path.with_suffix(".jsonl.1"))
    if not tail:
        return None
    found: list[Checkpoint] = []
    for line in tail.split(b"\n"):
        try:
            found.append(checkpoints.parse(canonical.parse(line)))
        except EvidenceError:
            continue  # The tail's first line is cut by us, a torn one by a crash.
    if not found:
        raise LogSetBack(f"checkpoint file of `{tenant}`: no line can be read; restore it, or move it away to go on")
    return max(found, key=lambda checkpoint: checkpoint.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A kept checkpoint that the database does not hold."""

    checkpoint: Checkpoint
    size: int
    """Where the database's log ends."""
    is_declared: bool
    """Whether a LOST entry of the present log says that this checkpoint's history is gone."""

    @property
    def set_back(self) -> LogSetBack:
        """What is wrong, and what to do about it."""
        tenant, kept = self.checkpoint.tenant, self.checkpoint.size
        if self.size < kept or self.is_declared:
            return LogSetBack(
                f"log of `{tenant}`: the database ends at entry {self.size}, its checkpoint file at {kept}: it was set"
                " back; restore the newer database, or accept the loss, on record: `python -m gateway accept-database`"
            )
        return LogSetBack(
            f"log of `{tenant}`: at entry {kept} the database has another root than its checkpoint file: it was"
            " rewritten, or is another database; restore the right one, or move the file away to accept it"
        )


def compare(connection: Connection, directory: Path) -> None:
    """
    Check that the database holds the log of every checkpoint file in the directory.

    Raises `LogSetBack`, whose message names the tenant and the sizes.
    """
    for kept in differing(connection, directory):
        raise kept.set_back


def differing(connection: Connection, directory: Path) -> list[Kept]:
    """
    The newest kept checkpoint of each chain whose history the database does not hold.

    The checkpoint itself is looked up, so a log that was cut and has grown again past the old size is found as well.
    Signatures are not checked here: a file that was tampered with can only refuse, never admit.
    """
    found = []
    for tenant in tenants(directory):
        kept = last(directory, tenant)
        if kept is None:
            continue
        size, root = _stored(connection, tenant, kept.size)
        if root != kept.root:
            found.append(Kept(checkpoint=kept, size=size, is_declared=_is_declared(connection, kept)))
    return found


def tenants(directory: Path) -> list[str]:
    """The chains that the directory has files of."""
    names = {path.name.split(".")[0] for path in directory.glob("*.jsonl*")}
    return sorted(name for name in names if shapes.NAME.fullmatch(name))


def newest_ms(connection: Connection, chains: Sequence[str]) -> int:
    """The time of the newest entry of these chains in the database, 0 where there is none."""
    with connections.transaction(connection, chains) as cursor:
        ((found,),) = cursor.execute("select coalesce(max(at_ms), 0) from lockgate.heads").fetchall()
    return int(found)


def set_aside(directory: Path, lost: Checkpoint) -> None:
    """Keep the files of a history that is declared lost under another name, and begin anew."""
    for path in (_path(directory, lost.tenant), _path(directory, lost.tenant).with_suffix(".jsonl.1")):
        if path.exists():
            path.rename(path.with_name(f"{path.name}.lost-{lost.size}"))
    _flush_directory(directory)


def _stored(connection: Connection, tenant: str, size: int) -> tuple[int, bytes | None]:
    with connections.transaction(connection, [tenant]) as cursor:
        head = cursor.execute("select size from lockgate.heads where tenant = %s", (tenant,)).fetchone()
        row = cursor.execute(
            "select root from lockgate.checkpoints where tenant = %s and size = %s", (tenant, size)
        ).fetchone()
    return (0 if head is None else head[0]), (None if row is None else bytes(row[0]))


def _is_declared(connection: Connection, kept: Checkpoint) -> bool:
    """Entries have no index by kind: this reads the whole log, and only where something is wrong already."""
    with connections.transaction(connection, [kept.tenant]) as cursor:
        cursor.execute("set local statement_timeout = '60s'")
        declared = cursor.execute(
            "select body from lockgate.entries where tenant = %s and kind = %s and seq <= %s",
            (kept.tenant, losses.KIND, kept.size),
        ).fetchall()
    return any(json.loads(body)["lost"]["size"] >= kept.size for (body,) in declared)


def _path(directory: Path, tenant: str) -> Path:
    if not shapes.NAME.fullmatch(tenant):
        raise ValueError("tenant: expected a plain name")
    return directory / f"{tenant}.jsonl"


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read()
    except FileNotFoundError:
        return b""


def _flush_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
