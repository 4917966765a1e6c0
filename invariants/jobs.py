"""What a proof run is given. Made in the gateway's process, read in the worker's; nothing here needs a solver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from invariants.declared import Invariant
from invariants.reports import Finding, Verdict
from policies.cedar import PRINCIPAL_TYPES, PrincipalType, Rule, parse
from policies.schema import ActionType, CedarSchema
from tool_registry.contracts import Contract, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofLimits:
    """Bounds of one proof run."""

    resources: int = 2_000_000
    """Z3's own deterministic unit, for each check. The base bundle's checks need at most 2,600; this is about 0.3 s."""

    memory_bytes: int = 1024 * 1024 * 1024
    """Address space of the worker. Beyond it the worker dies and what it had not shown stays unknown."""

    seconds: float = 300.0
    """Wall time of the whole run: a safety net far beyond what `resources` admits, never what decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a proof run needs to know, and nothing that it would have to look up."""

    policies: str
    invariants: str
    schema: CedarSchema
    resource_arguments: Mapping[str, str | None]
    """By action: the argument that names the resource."""
    samples: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By action and argument: a plausible text, for counter-examples."""
    limits: ProofLimits = field(default_factory=ProofLimits)


def job(
    files: Mapping[str, str], schema: CedarSchema, contracts: Iterable[Contract], limits: ProofLimits | None = None
) -> Job:
    """A proof run over a bundle's files, the contracts, and the schema generated from them."""
    listed = tuple(contracts)
    return Job(
        policies=files["policies.cedar"],
        invariants=files["invariants.cedar"],
        schema=schema,
        resource_arguments={contract.name: contract.resource_argument for contract in listed},
        samples={contract.name: dict(_samples(contract)) for contract in listed},
        limits=limits or ProofLimits(),
    )


def planned(job: Job, invariants: Iterable[Invariant]) -> Iterator[Finding]:
    """All that a run finds out, in order, not yet tried: invariants without a tool, tools by name, rules by id."""
    read = tuple(invariants)
    yield from (covers_nothing(invariant) for invariant in read if not invariant.actions)
    for action in job.schema.typed.actions.values():
        covering = tuple(invariant for invariant in read if action.name in invariant.actions)
        for principal in PRINCIPAL_TYPES:
            yield from blanks(action, principal, covering)
    yield from (rule_blank(rule) for rule in parse(job.policies))


def rule_blank(rule: Rule) -> Finding:
    """Whether a rule can be satisfied at all, not yet tried."""
    return Finding(kind="lives", rule=rule.id, action="", verdict=Verdict.UNKNOWN, reason="not_tried")


def blanks(action: ActionType, principal: PrincipalType, covering: Iterable[Invariant]) -> Iterator[Finding]:
    """The obligations of one type of request, not yet tried."""
    blank = Finding(
        action=action.name,
        principal=principal,
        resource=action.resource_type,
        verdict=Verdict.UNKNOWN,
        reason="not_tried",
    )
    yield from (replace(blank, kind=kind) for kind in ("assumptions", "premise", "never_errs"))
    for invariant in covering:
        yield replace(blank, invariant=invariant.id, sentence=invariant.sentence)


def covers_nothing(invariant: Invariant) -> Finding:
    """The verdict on an invariant whose scope covers no tool."""
    return Finding(
        invariant=invariant.id,
        sentence=invariant.sentence,
        action="",
        verdict=Verdict.VACUOUS,
        reason="covers_no_action",
    )


def _samples(contract: Contract) -> Iterator[tuple[str, str]]:
    for each in contract.arguments:
        if each.kind is Kind.IDENTIFIER:
            yield each.name, f"{each.prefix or each.name}_1"
