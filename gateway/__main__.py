"""`python -m gateway`: one gateway process, settings from `LOCKGATE_` variables.

`python -m gateway COMMAND` is for the operator of its host: `prepare-log-key`, `rotate-log-key`, `accept-database`.
"""

from __future__ import annotations

import argparse
import resource
import sys

import uvloop

from gateway import operating
from gateway.errors import Misconfigured
from gateway.ledger import LedgerUnavailable
from gateway.logs import configure
from gateway.serving import serve
from gateway.settings import read
from gateway.storage.cluster import ClusterFailed
from gateway.storage.connections import DatabaseUnavailable
from gateway.storage.identity import DatabaseOfAnother
from gateway.storage.kept_checkpoints import LogSetBack
from gateway.storage.migrations import MigrationFailed
from gateway.storage.places import UnfitPlace
from gateway.storage.rotation import InTheWay
from gateway.storage.signers import LogOfAnother
from gateway.storage.startup import UnsafeDatabase
from proofs.errors import KeyUnreadable

_REFUSED = (
    Misconfigured,
    KeyUnreadable,
    UnsafeDatabase,
    LogSetBack,
    LogOfAnother,
    ClusterFailed,
    UnfitPlace,
    DatabaseUnavailable,
    DatabaseOfAnother,
    MigrationFailed,
    LedgerUnavailable,
    InTheWay,
)
_COMMANDS = {
    "prepare-log-key": operating.prepare_log_key,
    "rotate-log-key": operating.rotate_log_key,
    "accept-database": operating.accept_database,
}


def main(command: str = "") -> int:
    """Serve until told to end, or carry out a command. 2: it must not be done like this, and said why."""
    # What is in memory, keys and people's data among it, is written to no file when the process dies (H06).
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        settings = read()
        configure(settings.log_level)
        if command:
            for sentence in _COMMANDS[command](settings):
                print(sentence)
            return 0
        uvloop.run(serve(settings))
    except _REFUSED as error:
        print(f"lockgate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("command", nargs="?", default="", choices=["", *_COMMANDS], metavar="COMMAND")
    sys.exit(main(parser.parse_args().command))
