"""Fixtures that every folder of tests may ask for."""

from __future__ import annotations

from tests.world.cluster import cluster, database, database_name, short_directory
from tests.world.running import client, gateway, world
from tests.world.stories import story

__all__ = ["client", "cluster", "database", "database_name", "gateway", "short_directory", "story", "world"]
