"""The names of the database roles. Who may do what is written in the migrations, and checked in `startup`."""

from __future__ import annotations

OWNER = "lockgate_owner"
"""Owns everything in the schema and cannot log in."""

MIGRATOR = "lockgate_migrator"
"""Logs in to migrate, and becomes the owner for that."""

APP = "lockgate_app"
"""The gateway: selects and inserts, and updates single columns where state moves."""

AUDITOR = "lockgate_auditor"
"""Reads."""
