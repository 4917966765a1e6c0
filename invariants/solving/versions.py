"""Which solvers are installed, for programs that must not load them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

_DISTRIBUTIONS = {"z3": "z3-solver", "cvc5": "cvc5"}
_PARTS = 3  # The distribution of Z3 adds a fourth, for its own repairs.


@cache
def installed() -> dict[str, str]:
    """Name -> version, as the solvers themselves say it."""
    return {name: ".".join(version(distribution).split(".")[:_PARTS]) for name, distribution in _DISTRIBUTIONS.items()}
