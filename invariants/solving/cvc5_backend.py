"""cvc5 behind scripts: the second solver, which reads what `smtlib` prints and nothing else.

The only module that imports it. One solver per script; its own resource limit decides when to give up. An error of the
reader or the solver is no answer.
"""

from __future__ import annotations

import cvc5

from invariants.solving.answers import Verdict

SOLVER_VERSION = f"cvc5 {cvc5.__version__}"

RESOURCES = 2_000_000
"""cvc5's own deterministic unit for one script."""


def settle(script: str, resources: int = RESOURCES) -> Verdict:
    """Whether the assertions of a script can hold together."""
    manager = cvc5.TermManager()
    solver = cvc5.Solver(manager)
    solver.setOption("strings-exp", "true")
    solver.setOption("rlimit", str(resources))
    symbols = cvc5.SymbolManager(manager)
    parser = cvc5.InputParser(solver, symbols)
    try:
        parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, script, "obligation")
        answer = ""
        while not (command := parser.nextCommand()).isNull():
            answer = command.invoke(solver, symbols).strip() or answer
    except RuntimeError:
        # What cannot be read or was interrupted: nothing was found out.
        return Verdict.UNKNOWN
    return Verdict(answer) if answer in (Verdict.SATISFIABLE, Verdict.UNSATISFIABLE) else Verdict.UNKNOWN
