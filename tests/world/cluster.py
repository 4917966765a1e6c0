"""A database for every test: one cluster for the session, one copy of a migrated database for each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.storage import migrations
from gateway.storage.cluster import Cluster
from gateway.storage.connections import Urls

MIGRATED = "migrated"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """A directory that the server's account may pass; pytest's own are private, which is why they do not serve."""
    path = Path(tempfile.mkdtemp(prefix="lockgate-test-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(short_directory: Path) -> Iterator[Cluster]:
    """A fresh embedded cluster, owned by this test session, with one migrated database to copy from."""
    with Cluster.start(short_directory / "cluster") as running:
        running.create_database(MIGRATED)
        migrations.upgrade(running.urls(MIGRATED).migrator)
        yield running


@pytest.fixture
def database_name(cluster: Cluster) -> Iterator[str]:
    """An empty, migrated database for one test, removed after it."""
    name = f"test_{next(_numbers)}"
    cluster.create_database(name, template=MIGRATED)
    yield name
    cluster.drop_database(name)


@pytest.fixture
def database(cluster: Cluster, database_name: str) -> Urls:
    """The URLs of this test's own database."""
    return cluster.urls(database_name)
