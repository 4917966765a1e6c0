"""A running world for tests: cluster, business, and a gateway over HTTP, one per test process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.client import Client
from deploy.demo.dev import seed
from deploy.demo.world import Gateway, World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Cluster, business (with its fault switches) and cast; the session's gateway is `gateway`."""
    home = Path(tempfile.mkdtemp(prefix="lockgate-world-"))
    home.chmod(0o755)  # The server's user passes through; what is inside is private.
    try:
        with World.start(home / "home", faults=True) as started:
            yield started
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def gateway(world: World) -> Gateway:
    """The session's gateway, seeded. A test that kills a gateway starts one of its own."""
    started = world.gateway()
    seed(world.cast, started.url)
    return started


@pytest.fixture
def client(gateway: Gateway) -> Client:
    """A client of the session's gateway."""
    return Client(gateway.url)
