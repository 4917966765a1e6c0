"""`python -m invariants COMMAND`: proofs at a terminal, with nothing running. `--help` lists the commands.

Exit codes of every command: 0 proved or confirmed, 1 refuted or different, 2 unknown, 3 bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from invariants import auditing, proving
from invariants.state import command as counters
from invariants.texts import command as texts


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(3, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _Parser(prog="python -m invariants", description="Prove what a bundle promises, and check proofs again.")
    commands = parser.add_subparsers(required=True)
    for part in (proving, auditing, counters, texts):
        part.add(commands)
    chosen = parser.parse_args(arguments)
    try:
        code = int(chosen.run(chosen))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has had enough, and was not told the end: nothing is confirmed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
