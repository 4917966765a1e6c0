"""Ask the Cedar engine itself, with nothing of Lockgate around it: may finance give AMOUNT of PAID cents back?

python docs/tutorial/ask.py BUNDLE AMOUNT PAID
"""

import sys
from pathlib import Path

import cedarpy

bundle, amount, paid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ada, finance = {"type": "Person", "id": "ada"}, {"type": "Role", "id": "finance"}
answer = cedarpy.is_authorized(
    {
        "principal": ada,
        "action": {"type": "Action", "id": "refund_half"},
        "resource": {"type": "Order", "id": "ord_1"},
        "context": {"arguments": {"amount_cents": amount}, "facts": {"order": {"paid_cents": paid}}},
    },
    (bundle / "policies.cedar").read_text(encoding="utf-8"),
    [{"uid": ada, "attrs": {}, "parents": [finance]}, {"uid": finance, "attrs": {}, "parents": []}],
)
print(f"{answer.decision.name} by {answer.diagnostics.reasons[0]}", *answer.diagnostics.errors, sep="\n")  # noqa: T201 - a script
