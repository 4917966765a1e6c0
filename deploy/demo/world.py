"""A whole small world on loopback: a database cluster, the business, and a gateway, each a process of its own.

`make dev`, `make demo`, the tests and the bench all stand on it. The process that makes a world owns its cluster;
everything ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.demo import cast as casting
from deploy.demo.backoffice import launch
from deploy.demo.backoffice.launch import Backoffice
from deploy.demo.cast import Cast
from gateway.storage.cluster import Cluster
from policies import bundles
from policies.bundles import Manifest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = "dev"
START_SECONDS = 120  # The first start proves the base bundle.
STOP_SECONDS = 30
BUNDLE_DAYS = 365
BYTECODE = ROOT / "build" / "bytecode"
"""Compiled modules of gateways. They start in half the time, also where Python is told to leave none beside sources."""


class GatewayFailed(Exception):
    """The gateway ended instead of starting; the message holds its last words."""


class PortTaken(GatewayFailed):
    """The gateway ended because somebody else listens on its port."""


@dataclass(slots=True)
class Gateway:
    """A running gateway process."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def kill(self) -> None:
        """SIGKILL: what a power cut leaves."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def died(self, seconds: float = 30) -> bool:
        """Whether the process ended within that time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


@dataclass(slots=True)
class World:
    """Cluster, business and cast; gateways come and go."""

    home: Path
    cluster: Cluster
    cast: Cast
    business: Backoffice
    port: int = 0
    loopback_origins: tuple[str, ...] = ()
    measures: bool = False
    """Whether gateways measure the strength of what is in force: seconds of a core, of no use to a short story."""
    gateways: list[Gateway] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def start(
        cls,
        home: Path,
        *,
        port: int = 0,
        faults: bool = False,
        loopback_origins: tuple[str, ...] = (),
        measures: bool = False,
    ) -> World:
        """Start cluster and business; a gateway is started by `gateway`."""
        stack = ExitStack()
        cluster = Cluster.start(home)
        stack.callback(cluster.stop)
        try:
            cluster.create_database("backoffice", role="backoffice")
            business = launch.start(
                cluster.url("backoffice", "backoffice"),
                journal=home / "dev" / "journal.jsonl",
                ready_file=_folder(home) / "business.json",
                faults=faults,
            )
            stack.enter_context(business)
            cast = casting.assemble(_folder(home) / "cast")
            _write_bundle(cast)
        except BaseException:
            stack.close()
            raise
        return cls(
            home=home,
            cluster=cluster,
            cast=cast,
            business=business,
            port=port,
            loopback_origins=loopback_origins,
            measures=measures,
            _stack=stack,
        )

    def gateway(
        self,
        *,
        crash: str = "",
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        program: Sequence[str] = ("gateway",),
    ) -> Gateway:
        """
        Start a gateway and wait until it listens; `program` is another module that serves one, with its arguments.

        Raises `GatewayFailed` with its last words, `PortTaken` where another port would have done.
        """
        log = _folder(self.home) / "gateway.log"
        start = log.stat().st_size if log.exists() else 0
        environment = {**_outer(), **self._settings(port), **(settings or {})}
        environment |= {"PYTHONPYCACHEPREFIX": str(BYTECODE), "PYTHONDONTWRITEBYTECODE": ""}
        if crash:
            environment["LOCKGATE_TEST_CRASH"] = crash
        with log.open("ab") as file:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module that tests and bench name
                [sys.executable, "-m", *program],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        listening = _port_of(process, log, start)
        gateway = Gateway(process=process, url=f"http://127.0.0.1:{listening}", log=log)
        self.gateways.append(gateway)
        return gateway

    def operate(
        self, command: str, *, settings: Mapping[str, str] | None = None, program: Sequence[str] = ("-m", "gateway")
    ) -> str:
        """Carry out an operator's command, `python -m gateway COMMAND`, and give what it said; else `GatewayFailed`."""
        done = subprocess.run(  # noqa: S603 - this interpreter, and a program that tests name
            [sys.executable, *program, command],
            cwd=ROOT,
            env={**_outer(), **self._settings(None), **(settings or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
        if done.returncode != 0:
            raise GatewayFailed(done.stderr.strip())
        return done.stdout

    def stop(self) -> None:
        """End everything that still runs."""
        for gateway in self.gateways:
            if gateway.process.poll() is None:
                gateway.stop()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _settings(self, port: int | None) -> dict[str, str]:
        return {
            "LOCKGATE_ENVIRONMENT": ENVIRONMENT,
            "LOCKGATE_DATA": str(self.home),
            "LOCKGATE_PORT": str(self.port if port is None else port),
            "LOCKGATE_ISSUERS": str(self.cast.issuers_file),
            "LOCKGATE_ROOT_KEYS": str(self.cast.root_keys_file),
            "LOCKGATE_BASE_BUNDLE": str(_bundle_file(self.cast)),
            "LOCKGATE_ORIGINS": json.dumps({"backoffice": self.business.url}),
            "LOCKGATE_DEV_LOOPBACK_ORIGINS": json.dumps(list(self.loopback_origins)),
            "LOCKGATE_MEASURE_STRENGTH": json.dumps(self.measures),
        }


def _outer() -> dict[str, str]:
    """This process's environment without anybody's settings for another gateway."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LOCKGATE_")}


def _folder(home: Path) -> Path:
    folder = home / "dev"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _bundle_file(cast: Cast) -> Path:
    return cast.folder / "base-bundle.json"


def _write_bundle(cast: Cast) -> None:
    """The base bundle, signed by the cast's bundle key; written once, because the genesis entry names its digest."""
    file = _bundle_file(cast)
    if file.exists():
        return
    now = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(
        tenant="system",
        environment=ENVIRONMENT,
        revision=1,
        created_at=now,
        not_after=now + timedelta(days=BUNDLE_DAYS),
    )
    file.write_bytes(bundles.sign(bundles.compose(bundles.base(), manifest), cast.bundle_key).raw)


def _port_of(process: subprocess.Popen[bytes], log: Path, start: int) -> int:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        ended = process.poll() is not None
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().splitlines()
        for line in lines:
            if b'"gateway_started"' in line:
                return int(json.loads(line)["port"])
        if ended:
            # Said before the server's stack trace, so not among the last words.
            if any(b"address already in use" in line.lower() for line in lines):
                raise PortTaken("another process listens on the gateway's port")
            raise GatewayFailed(b"\n".join(lines[-5:]).decode(errors="replace"))
        time.sleep(0.02)
    process.kill()
    raise GatewayFailed(f"not listening after {START_SECONDS} s")
