"""A gateway of a later release, whose schema has more in it: `python -m tests.world.later_schema`."""

from __future__ import annotations

import sys
from pathlib import Path

from alembic.config import Config

from gateway import __main__ as process
from gateway.storage import migrations, startup

VERSIONS = (Path(migrations.__file__).parent / "versions", Path(__file__).parent / "later_versions")
REVISION = "9999"


class LaterConfig(Config):
    """Finds the later revision beside ours."""

    def __init__(self) -> None:
        super().__init__()
        self.set_main_option("version_locations", ":".join(map(str, VERSIONS)))


def extend() -> None:
    """Have this process be the later release."""
    migrations.Config = LaterConfig  # type: ignore[attr-defined]
    startup.REVISION = REVISION
    startup.MOVING = {**startup.MOVING, "later": ("note",), "calls": (*startup.MOVING["calls"], "later")}


if __name__ == "__main__":
    extend()
    sys.exit(process.main())
