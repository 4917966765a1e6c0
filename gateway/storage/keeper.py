"""The keeper: a small process that holds a postmaster exactly as long as its owner lives.

Standard library only, started by path (see `cluster`). Its standard input is a pipe that the owner never writes to: end
of file means that the owner is gone, also after `kill -9`. While the owner lives, a postmaster that dies is started
again.

One keeper per home: it inherits a lock that it frees by exiting, after its postmaster is gone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

READY = "ready"
FAILED = "failed"

STOP_SECONDS = 20.0  # a fast shutdown writes a checkpoint; after this long a crash recovery is the lesser evil.
QUIT_SECONDS = 5.0
FIRST_START_SECONDS = 10.0  # backends of a killed postmaster hold its shared memory until they notice.
PAUSE_SECONDS_MAX = 2.0
TICK_SECONDS = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run; contains no secret, for a command line is public."""

    command: tuple[str, ...]
    data: str
    log: str
    uid: int | None
    gid: int | None

    def to_text(self) -> str:
        return json.dumps(
            {"command": self.command, "data": self.data, "log": self.log, "uid": self.uid, "gid": self.gid}
        )

    @classmethod
    def from_text(cls, text: str) -> Order:
        read = json.loads(text)
        return cls(command=tuple(read["command"]), data=read["data"], log=read["log"], uid=read["uid"], gid=read["gid"])


def main(order: Order) -> int:
    """Run the postmaster until the owner is gone; 0 after a stop, 1 when it never became ready."""
    owner = os.getppid()
    wake = _wake_on_signals()
    is_announced = False
    pause = 0.1
    give_up_at = time.monotonic() + FIRST_START_SECONDS
    while True:
        quit_stray(Path(order.data))
        child = _spawn(order)
        if _until_ready(child, order, owner):
            pause = 0.1
            if not is_announced:
                _announce(READY)
                is_announced = True
        while child.poll() is None and not _is_over(owner):
            _drain(select.select([0, wake], [], [], 1.0)[0], wake)
        if child.poll() is None or _is_over(owner):
            _stop(child)
            return 0
        if not is_announced and not (_is_memory_held(order) and time.monotonic() < give_up_at):
            _announce(FAILED)
            return 1
        # A full disk ends the postmaster too: keep trying for as long as somebody waits for it.
        time.sleep(pause)
        pause = min(pause * 2, PAUSE_SECONDS_MAX) if is_announced else pause


def postmaster(data: Path) -> int | None:
    """The process id of a living postmaster of this very directory; never a stranger that got its number."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if pid > 0 and _serves(pid, data) else None


def quit_stray(data: Path) -> None:
    """End a postmaster that outlived its keeper, and take away its stale pid file. Call only with the keeper's lock."""
    pid = postmaster(data)
    if pid is not None:
        for number, seconds in ((signal.SIGQUIT, QUIT_SECONDS), (signal.SIGKILL, QUIT_SECONDS)):
            _signal(pid, number)
            deadline = time.monotonic() + seconds
            while _serves(pid, data) and time.monotonic() < deadline:
                time.sleep(TICK_SECONDS)
    # A recycled process number in this file would keep PostgreSQL from starting for as long as that process lives.
    (data / "postmaster.pid").unlink(missing_ok=True)


def interrupt(data: Path) -> bool:
    """Cut a slow stop short without waiting: the keeper that holds the lock takes the server's end from here."""
    pid = postmaster(data)
    if pid is not None:
        _signal(pid, signal.SIGQUIT)
    return pid is not None


def is_ready(data: Path, pid: int) -> bool:
    """Whether the pid file names `pid` and says so (line 8)."""
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == READY


def _spawn(order: Order) -> subprocess.Popen[bytes]:
    with open(order.log, "ab") as log:
        return subprocess.Popen(  # noqa: S603 - the owner's own order
            order.command,
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A session of its own: Ctrl-C at the owner's terminal must not reach the server.
            start_new_session=True,
            umask=0o077,
            user=order.uid,
            group=order.gid,
            extra_groups=None if order.uid is None else [],
        )


def _until_ready(child: subprocess.Popen[bytes], order: Order, owner: int) -> bool:
    while child.poll() is None and not _is_over(owner):
        if is_ready(Path(order.data), child.pid):
            return True
        time.sleep(TICK_SECONDS)
    return False


def _is_memory_held(order: Order) -> bool:
    """Whether backends of a killed postmaster are what stands in the way: they go by themselves."""
    return b"pre-existing shared memory block" in Path(order.log).read_bytes()[-2000:]


def _stop(child: subprocess.Popen[bytes]) -> None:
    for number, seconds in (
        (signal.SIGINT, STOP_SECONDS),
        (signal.SIGQUIT, QUIT_SECONDS),
        (signal.SIGKILL, QUIT_SECONDS),
    ):
        if child.poll() is not None:
            return
        child.send_signal(number)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


_told_to_stop = Event()


def _wake_on_signals() -> int:
    """Let signals end a `select`. Handlers, not SIG_IGN: what is ignored stays ignored in the postmaster."""

    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: _told_to_stop.set())
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _is_over(owner: int) -> bool:
    # A child that the owner forked may keep the pipe open; then the changed parent tells.
    return _told_to_stop.is_set() or os.getppid() != owner or bool(select.select([0], [], [], 0)[0])


def _drain(readable: list[int], wake: int) -> None:
    if wake in readable:
        os.read(wake, 4096)


def _announce(word: str) -> None:
    # The owner may have died meanwhile; end of file on the other pipe says what to do.
    with suppress(BrokenPipeError):
        os.write(1, f"{word}\n".encode())


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _serves(pid: int, data: Path) -> bool:
    """Whether that process was started with this directory as an argument."""
    try:
        return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        if Path("/proc/self").exists():
            return False
    # Elsewhere, as on macOS.
    listed = subprocess.run(  # noqa: S603 - fixed arguments and a number
        ("/bin/ps", "-o", "command=", "-p", str(pid)), capture_output=True, check=False
    )
    return b" %b " % os.fsencode(data) in listed.stdout


if __name__ == "__main__":
    sys.exit(main(Order.from_text(sys.argv[1])))
