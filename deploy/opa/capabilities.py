"""`python -m deploy.opa.capabilities`: writes capabilities.json, what a bundle's module may use, in OPA's own form.

It is the closed list of `policies/rego_source.py` and the operators, as the installed OPA declares them. Whatever
reaches out is missing because it is not on the list, and no address may be reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from deploy.opa.__main__ import FOLDER, program
from policies import rego_source

FILE = FOLDER / "capabilities.json"
_OPERATORS = frozenset(
    {
        "and", "assign", "eq", "equal", "gt", "gte", "internal.member_2", "internal.member_3", "lt", "lte", "minus",
        "mul", "neq", "or", "plus",
    }
)  # fmt: skip


def current(opa: str) -> dict[str, Any]:
    """Everything that this OPA can do."""
    done = subprocess.run([opa, "capabilities", "--current"], check=True, capture_output=True, text=True)  # noqa: S603 - the installed OPA
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def admitted(capabilities: dict[str, Any]) -> dict[str, Any]:
    """What is left of it for modules."""
    names = rego_source.BUILT_INS | _OPERATORS
    return {
        "allow_net": [],
        "builtins": [each for each in capabilities["builtins"] if each["name"] in names],
        "features": ["rego_v1"],
        "future_keywords": [],
    }


def text(capabilities: dict[str, Any]) -> str:
    """As it stands in the file."""
    return json.dumps(admitted(capabilities), indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write the file anew."""
    opa = program()
    if opa is None:
        sys.exit("opa: not installed; run `make opa`")
    FILE.write_text(text(current(opa)))


if __name__ == "__main__":
    main()
