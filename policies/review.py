"""What a machine can say of a bundle before its cases run: findings, each with the file and the rule it is about.

A bundle with findings is not published. Nothing here evaluates a policy; the cases and the proof do. The cases of
autonomy rules need no engine, and are replayed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from policies import autonomy, autonomy_cases, cedar, rego_source
from policies.bundles import Bundle
from policies.errors import PolicyFault
from policies.projection import MEMBERS
from policies.schema import CedarSchema

HINT_LENGTH_MAX = 200
ACCEPTED_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reason not to publish."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def validate(bundle: Bundle, schema: CedarSchema) -> tuple[Finding, ...]:
    """Everything found, in file order. Empty: the bundle is well typed, named, hinted, bounded and cased."""
    return (
        *_manifest(bundle, schema),
        *_policies(bundle, schema),
        *_invariants(bundle, schema),
        *_rego(bundle),
        *_autonomy(bundle, schema),
    )


def _manifest(bundle: Bundle, schema: CedarSchema) -> Iterator[Finding]:
    if bundle.manifest.schema_digest not in (None, schema.digest):
        yield Finding(file="manifest", message="written for another schema than that of the registered tools")


def _policies(bundle: Bundle, schema: CedarSchema) -> Iterator[Finding]:
    try:
        rules = cedar.parse(bundle.policies)
    except PolicyFault as fault:
        yield Finding(file="policies.cedar", message=str(fault))
        return
    for problem in cedar.problems(bundle.policies, schema):
        yield Finding(file="policies.cedar", message=problem)
    for rule in rules:
        if not 0 < len(rule.hint) <= HINT_LENGTH_MAX:
            yield Finding(
                file="policies.cedar",
                message=f"rule `{rule.id}`: expected a `@hint` of at most {HINT_LENGTH_MAX} characters",
            )
        # Whoever keeps a rule that decides nothing says why.
        if "accepted" in rule.annotations and not 0 < len(rule.annotations["accepted"]) <= ACCEPTED_LENGTH_MAX:
            yield Finding(
                file="policies.cedar",
                message=f"rule `{rule.id}`: `@accepted` says why in at most {ACCEPTED_LENGTH_MAX} characters",
            )
    yield from _named_once_and_cased(bundle, [rule.id for rule in rules])


def _named_once_and_cased(bundle: Bundle, policies: list[str]) -> Iterator[Finding]:
    deciding = [*policies, *bundle.rego.deny]
    for name, count in Counter([*deciding, *bundle.rego.obligations]).items():
        if count > 1:
            yield Finding(file="data.json", message=f"rule `{name}`: the id is given twice")
    named = {name for case in bundle.cases for name in case.expect.rules or ()}
    owed = {name for case in bundle.cases for name in case.expect.obligations}
    for name in sorted({*deciding} - named) + sorted({*bundle.rego.obligations} - owed):
        yield Finding(file="cases.json", message=f"rule `{name}`: no case expects it")
    for name in sorted((named - {*deciding}) | (owed - {*bundle.rego.obligations})):
        yield Finding(file="cases.json", message=f"rule `{name}`: expected by a case, and not in the bundle")


def _invariants(bundle: Bundle, schema: CedarSchema) -> Iterator[Finding]:
    try:
        invariants = cedar.parse(bundle.invariants)
    except PolicyFault as fault:
        yield Finding(file="invariants.cedar", message=str(fault))
        return
    if not invariants:
        yield Finding(file="invariants.cedar", message="no invariant: there would be nothing to prove")
    for problem in cedar.problems(bundle.invariants, schema):
        yield Finding(file="invariants.cedar", message=problem)
    for each in invariants:
        if each.effect != "forbid" or not each.annotations.get("sentence"):
            yield Finding(
                file="invariants.cedar", message=f"invariant `{each.id}`: expected a `forbid` with a `@sentence`"
            )


def _rego(bundle: Bundle) -> Iterator[Finding]:
    for fault in rego_source.faults(bundle.rego.module):
        yield Finding(file="deny.rego", message=fault.removeprefix("deny.rego: "))
    if rego_source.PACKAGE in bundle.rego.data:
        yield Finding(file="data.json", message=f"`{rego_source.PACKAGE}` is the module's own place, and no data")
    # A misspelt member would be undefined, and a deny rule over it would silently never hold.
    for name in sorted(set(rego_source.reads(bundle.rego.module) or ()) - MEMBERS):
        yield Finding(file="deny.rego", message=f"`input.{name}` is not a member of the projection")


def _autonomy(bundle: Bundle, schema: CedarSchema) -> Iterator[Finding]:
    """Rules about tools that there are, each shown to lower an agent by a case; cases with the level that they say."""
    for fault in autonomy.faults(bundle.autonomy, schema):
        yield Finding(file=autonomy.FILE, message=fault)
    for failure in autonomy_cases.failures(bundle.autonomy, bundle.autonomy_cases):
        yield Finding(file=autonomy.FILE, message=failure)
