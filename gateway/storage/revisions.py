"""The newest revision of each tenant's rules that this data home has seen in force, kept outside the database.

A database that is put back to an earlier day, with its loss accepted by an operator, would take any signed bundle since
that day for a newer one. What is kept here never falls, so none that was replaced comes back that way.
"""

from __future__ import annotations

import os
from pathlib import Path

from proofs import shapes

_DIGITS_MAX = 16


class RevisionsUnreadable(Exception):
    """A file of the data home does not hold what was written; the message names it."""


class Revisions:
    """One file for each tenant, `<directory>/<tenant>`, that holds a number."""

    def __init__(self, directory: Path) -> None:
        """Raises `RevisionsUnreadable`."""
        self._directory = directory
        self._newest: dict[str, int] = {}
        if directory.is_dir():
            for file in sorted(directory.iterdir()):
                if shapes.NAME.fullmatch(file.name):
                    self._newest[file.name] = _read(file)

    def newest(self, tenant: str) -> int:
        """0 where none was ever seen."""
        return self._newest.get(tenant, 0)

    def note(self, tenant: str, revision: int) -> None:
        """Keep it if it is newer; durable on return. Raises `OSError`: it is remembered until this process ends."""
        if revision <= self.newest(tenant):
            return
        self._newest[tenant] = revision
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = self._directory / f"{tenant}.half"
        with half.open("wb") as file:
            file.write(b"%d\n" % revision)
            file.flush()
            os.fsync(file.fileno())
        # A crash before this line leaves the former number, and after it the new one.
        half.replace(self._directory / tenant)
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(file: Path) -> int:
    text = file.read_bytes().strip()
    if not text.isdigit() or len(text) > _DIGITS_MAX:
        raise RevisionsUnreadable(f"`{file}` holds no revision: put back the file of a copy of this data home")
    return int(text)
