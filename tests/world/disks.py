"""Disks that are too small, and system calls that fail: what a gateway and its database write to."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.opening import DATABASE
from gateway.storage.cluster import SUPERUSER, Cluster
from gateway.storage.connections import connect
from tests.world.ground import Ground, ground
from tests.world.oracle import Oracle
from tests.world.rigs import children

DATABASE_MEGABYTES = 256
"""A fresh cluster, its programs where they must be copied, and some segments of its log."""
ATTACH_SECONDS_MAX = 10


def require_root_and(program: str) -> None:
    """A named skip where the machine does not allow it, and a failure in continuous integration."""
    if os.geteuid() == 0 and shutil.which(program) is not None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"needs root and `{program}`")
    pytest.skip(f"needs root and `{program}`")


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size, in memory, at `place`."""
    require_root_and("mount")
    place.mkdir(mode=0o755, exist_ok=True)
    size = f"size={megabytes}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "lockgate-test", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """No byte is left on that file system meanwhile."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            while True:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    break
    try:
        yield
    finally:
        filler.unlink()


@dataclass(slots=True)
class DiskRig:
    """A world whose gateway has its database on a small disk of its own; the business keeps its own elsewhere."""

    field: Ground
    disk: Path
    cluster: Cluster

    def writers(self) -> list[int]:
        """The server's processes that the gateway's writing sessions have."""
        with connect(self.cluster.url(DATABASE, SUPERUSER)) as superuser:
            found = superuser.execute("select pid from pg_stat_activity where application_name = 'lockgate-writer'")
            return [int(row[0]) for row in found]

    def server(self) -> list[int]:
        """All of the server's processes."""
        first = self.cluster.postmaster_id
        return [] if first is None else [first, *children(first)]


@contextmanager
def disk_rig(settings: dict[str, str] | None = None) -> Iterator[DiskRig]:
    """A gateway over a database on a small disk."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="lg-disk-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        disk = stack.enter_context(small_disk(folder / "disk", DATABASE_MEGABYTES))
        folder.chmod(0o755)
        cluster = stack.enter_context(Cluster.start(disk / "home"))
        cluster.create_database(DATABASE)
        field = stack.enter_context(ground())
        urls = cluster.urls(DATABASE)
        through = {"DATABASE": urls.app, "AUDITOR": urls.auditor, "MIGRATOR": urls.migrator}
        named = {f"LOCKGATE_{name}_URL": url for name, url in through.items()}
        field.oracle = Oracle(field.world, urls.auditor)
        field.restart(settings={**named, **(settings or {})})
        yield DiskRig(field, disk, cluster)


@contextmanager
def injected(pids: Sequence[int], what: str, *, only: Path | None = None) -> Iterator[None]:
    """System calls of these processes, and of their children, fail as strace is told; `only` those on this file."""
    call, _, _ = what.partition(":")
    with _traced(pids, ["-e", f"trace={call}", "-e", f"inject={what}", *_only(only)], Path(os.devnull)):
        yield


@contextmanager
def traced(pids: Sequence[int], calls: str, file: Path) -> Iterator[None]:
    """What these processes ask of the system is written down: a file for each process."""
    with _traced(pids, ["-ff", "-s", "4096", "-e", f"trace={calls}"], file):
        yield


def acknowledgements(trace: str) -> Iterator[bool]:
    """Of each COMMIT that a server process answered: whether its log was flushed since the answer before."""
    is_flushed = False
    for line in trace.splitlines():
        if re.match(r"(?:\d+ +)?f(?:data)?sync\(\d+\) += 0", line):
            is_flushed = True
        elif "sendto(" in line:
            if "COMMIT" in line:
                yield is_flushed
            is_flushed = False


@contextmanager
def _traced(pids: Sequence[int], options: Sequence[str], file: Path) -> Iterator[None]:
    require_root_and("strace")
    attached = [part for pid in pids for part in ("-p", str(pid))]
    with tempfile.TemporaryFile() as said:
        command = ["strace", "-f", "-o", str(file), *options, *attached]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        until = time.monotonic() + ATTACH_SECONDS_MAX
        while not all(_is_traced(pid) for pid in pids):
            said.seek(0)
            assert process.poll() is None, said.read().decode()
            assert time.monotonic() < until, "strace does not attach"
            time.sleep(0.02)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)  # It lets go of them.
            process.wait()


def _only(file: Path | None) -> list[str]:
    return [] if file is None else ["-P", str(file)]


def _is_traced(pid: int) -> bool:
    """Whether somebody follows the process, or there is none any more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    return "TracerPid:\t0\n" not in status
