"""Start the back office as a process of its own, and end it: for the demonstration, `make dev` and tests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.01


class StartFailed(Exception):
    """The process ended, or did not say in time that it is ready. Its own words went to the error stream."""


@dataclass(frozen=True, slots=True)
class Backoffice:
    """A running back office. Ends with its parent, with `stop`, or with the `with` block."""

    process: subprocess.Popen[bytes]
    url: str
    journal: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> int:
        """Ask it to end; its exit status, 0 when all is well."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()


def start(
    database_url: str, *, journal: Path, ready_file: Path, port: int = 0, faults: bool = False, reset: bool = False
) -> Backoffice:
    """
    Start a back office and wait until it serves requests.

    Raises `StartFailed`.
    """
    ready_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", __package__, "--database-url", database_url]
    command += ["--port", str(port), "--journal", str(journal.resolve()), "--ready-file", str(ready_file.resolve())]
    command += ["--faults"] * faults + ["--reset"] * reset
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)  # noqa: S603 - arguments are ours
    if not _wait(lambda: ready_file.exists() or process.poll() is not None) or not ready_file.exists():
        process.kill()
        process.wait()
        raise StartFailed("the back office did not get ready")
    url: str = json.loads(ready_file.read_text(encoding="utf-8"))["url"]
    return Backoffice(process=process, url=url, journal=journal)


def _wait(is_done: Callable[[], bool]) -> bool:
    give_up_at = time.monotonic() + START_SECONDS
    while not is_done():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(POLL_SECONDS)
    return True
