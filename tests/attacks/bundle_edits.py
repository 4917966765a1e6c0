"""The base bundle, and slips of the pen in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import policies
from invariants import prover
from invariants.jobs import ProofLimits, job
from invariants.reports import Finding
from policies.questions import Entity, Question
from policies.schema import generate
from tool_registry.contracts import Contract
from tool_registry.registry import load_catalogue

BASE = Path(policies.__file__).parent / "base"
POLICIES = (BASE / "policies.cedar").read_text(encoding="utf-8")
INVARIANTS = (BASE / "invariants.cedar").read_text(encoding="utf-8")
CONTRACTS = tuple(load_catalogue().contracts.values())
REFUND = tuple(contract for contract in CONTRACTS if contract.name == "issue_refund")
SCHEMA = generate(CONTRACTS)


def _power(times: int) -> str:
    roles = ("operator", "sre", "safety", "finance", "growth", "commerce", "security", "founder")
    total = " + ".join([*(f"context.approvals.{role}" for role in roles), "context.arguments.amount_cents"])
    power = f"({total})"
    for _ in range(times):
        power = f"({power} * ({total}))"
    return power


MEMORY_BOMB = f"{_power(14)} == 7"
"""A condition on refunds: multiplied out it has half a million terms."""
FILES = {"policies.cedar": POLICIES, "invariants.cedar": INVARIANTS}


def rule(text: str, identity: str) -> str:
    """The statement of that id, annotations included."""
    parts = re.split(r"(?=^@id\()", text, flags=re.MULTILINE)
    (found,) = (part for part in parts if part.startswith(f'@id("{identity}")'))
    return found[: found.index(";\n") + 2]


def without(text: str, identity: str) -> str:
    """The text with one rule deleted."""
    return text.replace(rule(text, identity), "")


def mistyped(text: str, identity: str, old: str, new: str) -> str:
    """The text with one rule changed in one place or more."""
    before = rule(text, identity)
    assert old in before
    return text.replace(before, before.replace(old, new))


def proved(
    policies_text: str,
    invariants_text: str = INVARIANTS,
    contracts: Iterable[Contract] = CONTRACTS,
    resources: int = ProofLimits().resources,
) -> tuple[Finding, ...]:
    """Every verdict of the prover, in this process and by z3 alone."""
    listed = tuple(contracts)
    files = {"policies.cedar": policies_text, "invariants.cedar": invariants_text}
    return tuple(prover.run(job(files, generate(listed), listed, ProofLimits(resources=resources))))


def about_invariants(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Verdicts on invariants, without those on the policies themselves."""
    return tuple(finding for finding in findings if finding.invariant)


def question(document: Mapping[str, Any]) -> Question:
    """What `Question.document` wrote."""
    principal, resource = document["principal"], document["resource"]
    return Question(
        principal=Entity(type=principal["type"], id=principal["id"]),
        roles=tuple(principal["roles"]),
        action=document["action"],
        resource=Entity(type=resource["type"], id=resource["id"]),
        context=document["context"],
    )
