"""The strength of what is in force is measured beside everything else, and a new certificate says it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.client import Client
from deploy.demo.world import World
from tests.world.stories import eventually

SECONDS = 240.0  # It stands back behind the other tests.


@pytest.fixture
def measured() -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="lockgate-measured-"))
    home.chmod(0o755)  # The server's user passes through.
    try:
        with World.start(home / "home", measures=True) as world:
            yield world
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_certificate_in_force_comes_to_say_its_mutation_score(measured: World) -> None:
    """
    At first it says that nothing was measured; then another, otherwise the same, says what mistakes would be noticed.
    """
    gateway = measured.gateway()
    client, auditor = Client(gateway.url), measured.cast.person("acme", "auditor").token
    before = in_force(client, auditor)

    assert eventually(lambda: in_force(client, auditor)["mutation"] is not None, SECONDS)

    after = in_force(client, auditor)
    score = after["mutation"]
    assert before["mutation"] is None
    assert before["unmeasured"]
    assert score["mutants"] == score["equivalent"] + score["caught"] + len(score["survivors"]) > 500
    assert score["caught"] * 100 >= 99 * (score["mutants"] - score["equivalent"])
    assert all(before[name] == after[name] for name in ("bundle", "schema", "obligations", "vacuity"))
    gateway.stop()
    assert in_force(Client(measured.gateway().url), auditor) == after


def in_force(client: Client, token: str) -> dict[str, Any]:
    """The certificate under which calls are decided now."""
    digest = client.get("/v1/bundles", token).document["in_force"]["certificate"]
    return dict(client.get(f"/v1/certificates/{digest}", token).document)
