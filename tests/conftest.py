"""Fixtures that every folder of tests may ask for."""

from __future__ import annotations

from tests.world.cluster import cluster, database, database_name, short_directory

__all__ = ["cluster", "database", "database_name", "short_directory"]
