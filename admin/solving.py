"""What commands that ask a solver have in common: their exit codes, also where the command line cannot be understood.

The other commands say 2 for usage and 3 for what could not be found out; here 2 is a solver's unknown, and everything
that cannot even be asked is 3. A script that reads codes need not know which sentence came with one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import typer
from typer.core import TyperCommand

from admin.errors import CommandError, Exit, Found

Parameters = ParamSpec("Parameters")


class Command(TyperCommand):
    """A command whose wrong options are bad input."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, as every command does."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            vars(error)["exit_code"] = int(Found.BAD_INPUT)  # The class says 2 for all of its kind.
            raise


def answering(command: Callable[Parameters, Found]) -> Callable[Parameters, Found]:
    """A command that asks a solver: faults with the codes of other commands get those of this kind."""

    @functools.wraps(command)
    def run(*given: Parameters.args, **named: Parameters.kwargs) -> Found:
        try:
            return command(*given, **named)
        except CommandError as error:
            if isinstance(error.code, Exit):
                is_silent = error.code in (Exit.UNKNOWN, Exit.IN_DOUBT)
                error.code = Found.UNKNOWN if is_silent else Found.BAD_INPUT
            raise

    return run


def worst(found: Sequence[Found]) -> Found:
    """One code for several: a no weighs more than an unknown, whatever cannot be asked most."""
    return max(found, key=(Found.YES, Found.UNKNOWN, Found.NO, Found.BAD_INPUT).index, default=Found.YES)
