"""The ground that fault tests share: one world for each test process, whose gateway any of them may kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world.ground import Ground, ground
from tests.world.tools import Tool, running


@pytest.fixture(scope="session")
def tool() -> Iterator[Tool]:
    """A tool of the tests' own, beside the business; nothing is registered for it yet."""
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def shared_ground(tool: Tool) -> Iterator[Ground]:
    """Use `field` instead."""
    with ground(loopback_origins=(tool.origin,)) as started:
        yield started


@pytest.fixture
def field(shared_ground: Ground) -> Iterator[Ground]:
    """The ground, with a gateway that runs; after the test the books must agree."""
    shared_ground.gateway()
    yield shared_ground
    shared_ground.business_is_well()
    shared_ground.settled()
    assert shared_ground.reconcile(chains=("acme",)).wrong == ()
