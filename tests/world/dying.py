"""An operator's command that dies where it calls a function: `python -m tests.world.dying MODULE:NAME COMMAND`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

from gateway import __main__ as process

STATUS = 9


def die(*_: object, **__: object) -> NoReturn:
    """As a power cut would: nothing is closed, nothing is said."""
    os._exit(STATUS)


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    setattr(import_module(module), name, die)
    sys.exit(process.main(sys.argv[2]))
