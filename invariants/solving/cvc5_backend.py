"""cvc5 behind scripts: the second solver, which reads what `smtlib` prints and nothing else.

The only module that imports it. One solver per script; its own resource limit decides when to give up. An error of the
reader or the solver is no answer.
"""

from __future__ import annotations

import cvc5

from invariants.solving.answers import Verdict
from invariants.solving.smtlib import Script

VERSION: str = cvc5.__version__
SOLVER_VERSION = f"cvc5 {VERSION}"

RESOURCES = 2_000_000
"""cvc5's own deterministic unit for one question."""

# What our printer writes. A text may be a stranger's, and a command such as `set-option` opens files.
_COMMANDS = frozenset({"set-logic", "declare-fun", "define-fun", "assert", "check-sat", "check-sat-assuming"})


def options(resources: int) -> dict[str, str]:
    """How the solver is set where it is asked more than once."""
    return {"strings-exp": "true", "incremental": "true", "rlimit-per": str(resources)}


def used(resources: int) -> dict[str, object]:
    """Who answers, as reports and certificates name it."""
    chosen = sorted(f"{name}={value}" for name, value in options(resources).items())
    return {"name": "cvc5", "version": VERSION, "options": chosen}


def settle(script: str, resources: int = RESOURCES) -> Verdict:
    """Whether the assertions of a script can hold together."""
    found = _answers(script, {"strings-exp": "true", "rlimit": str(resources)})
    return found[-1] if found else Verdict.UNKNOWN


def settle_goals(script: Script, resources: int = RESOURCES) -> tuple[Verdict, ...]:
    """For each goal of a script whether it can hold together with the assertions."""
    found = _answers(script.questions(), options(resources))
    return (*found, *[Verdict.UNKNOWN] * (len(script.goals) - len(found)))


def _answers(text: str, chosen: dict[str, str]) -> list[Verdict]:
    """What the solver says to each question of a text, as far as it gets."""
    manager = cvc5.TermManager()
    solver = cvc5.Solver(manager)
    for name, value in chosen.items():
        solver.setOption(name, value)
    symbols = cvc5.SymbolManager(manager)
    parser = cvc5.InputParser(solver, symbols)
    found: list[Verdict] = []
    try:
        parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "obligation")
        while not (command := parser.nextCommand()).isNull():
            if command.getCommandName() not in _COMMANDS:
                return found
            if answer := command.invoke(solver, symbols).strip():
                found.append(Verdict(answer))
    except (RuntimeError, ValueError):
        # What cannot be read, was interrupted, or is answered by an error: nothing more was found out.
        return found
    return found
