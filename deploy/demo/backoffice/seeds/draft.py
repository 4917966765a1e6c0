"""What the parts of a seed write into, and draw from."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

Row = dict[str, Any]


class Draft:
    """One tenant's rows so far, with its own random generator."""

    def __init__(self, tenant: str, first_number: int, now: datetime) -> None:
        self.tenant = tenant
        self.first_number = first_number
        self.now = now
        self.random = random.Random(f"lockgate/demo/{tenant}")  # noqa: S311 - sample data, the same everywhere
        self.tables: dict[str, list[Row]] = {}

    def add(self, table: str, **columns: Any) -> Row:
        """Append a row; the tenant comes by itself."""
        row = {"tenant": self.tenant, **columns}
        self.tables.setdefault(table, []).append(row)
        return row

    def rows(self, table: str) -> list[Row]:
        return self.tables.get(table, [])

    def next_id(self, prefix: str, table: str) -> str:
        """`ord_1001`, `ord_1002`, …"""
        return f"{prefix}_{self.first_number + len(self.rows(table))}"

    def ago(self, *, days: float = 0, minutes: float = 0) -> datetime:
        return self.now - timedelta(days=days, minutes=minutes)

    def some_days_ago(self, most: int) -> datetime:
        """A random moment within the last `most` days, to the minute."""
        return self.now - timedelta(minutes=self.random.randrange(30, most * 24 * 60))

    def letters(self, length: int) -> str:
        """Random characters, for tokens and reference numbers."""
        return "".join(self.random.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(length))
