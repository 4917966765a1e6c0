"""A gateway of which a part can be broken while it runs, where nothing outside could break it.

`python -m tests.world.broken_parts FILE`. Everything else is the gateway's own. A part is broken while FILE names it:

    redactor   finding what a text holds raises, and the message quotes the text
    checks     every compiled invariant is found violated

Its standard error can be exchanged as that of `log_sinks`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway import findings
from gateway.findings import Finding
from invariants.checks import Check, CompiledInvariants, Status
from policies.questions import Question
from tests.world import log_sinks

REDACTOR, CHECKS = "redactor", "checks"


def main() -> int:
    """Serve as `python -m gateway` does."""
    file = Path(sys.argv[1])
    find, evaluate = findings.find, CompiledInvariants.evaluate

    def broken_find(text: str, *, nested: int = 0) -> list[Finding]:
        if file.read_text() == REDACTOR:
            raise ValueError(f"cannot read {text}")
        return find(text, nested=nested)

    def broken_evaluate(self: CompiledInvariants, question: Question) -> tuple[Check, ...]:
        found = evaluate(self, question)
        return tuple(each._replace(status=Status.FAIL) for each in found) if file.read_text() == CHECKS else found

    findings.find = broken_find
    CompiledInvariants.evaluate = broken_evaluate  # type: ignore[method-assign]
    log_sinks.listen()
    from gateway import __main__ as process  # noqa: PLC0415 - after its parts are exchanged

    return process.main()


if __name__ == "__main__":
    sys.exit(main())
