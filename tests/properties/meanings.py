"""The meanings of Cedar side by side: the engine, the compiled closures, the encoded terms under either solver."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import cedarpy

from invariants.errors import EvaluationError
from invariants.meaning import compiler, encodings, entities, evaluation, schema_text, witnesses
from invariants.meaning.encodings import Answer, Encoding
from invariants.meaning.entities import Request, Store
from invariants.meaning.schemas import RequestType, Schema
from invariants.solving import cvc5_backend, smtlib, z3_backend
from invariants.solving.answers import Verdict
from invariants.solving.terms import Term
from policies import cedar_syntax
from policies.cedar_syntax import nodes as pst
from tests.properties import general_cedar

RESOURCES = 20_000_000


@dataclass(frozen=True)
class Situation:
    """A schema, policies, a store and a request: as Cedar's own text, and as ours."""

    schema_text: str
    policies_text: str
    entity_documents: list[dict[str, Any]]
    request_document: dict[str, Any]
    schema: Schema
    policies: Mapping[str, pst.Template]
    store: Store
    request: Request

    @property
    def kind(self) -> RequestType:
        """Of the request."""
        asked = self.request
        return RequestType(principal=asked.principal.type, action=asked.action, resource=asked.resource.type)

    def encode(self) -> Encoding:
        """The policies as terms, over every request of the kind."""
        return encodings.encode(self.policies, self.schema, self.kind)


def situation(schema: str, policies: str, documents: list[dict[str, Any]], request: dict[str, Any]) -> Situation:
    """Read all four."""
    typed = schema_text.read(schema)
    return Situation(
        schema,
        policies,
        documents,
        request,
        typed,
        cedar_syntax.linked(cedar_syntax.parse_set(policies)),
        entities.store(documents, typed),
        entities.request(request, typed),
    )


def drawn(seed: int) -> Situation:
    """A random one."""
    return situation(*general_cedar.world(Random(seed)))


def by_engine(given: Situation) -> tuple[bool, frozenset[str], frozenset[str]]:
    """Allowed, determining policies, erring policies."""
    known = cedarpy.Entities.from_json_str(json.dumps(given.entity_documents), given.schema_text)
    answer = cedarpy.is_authorized(given.request_document, given.policies_text, known, schema=given.schema_text)
    assert answer.decision is not cedarpy.Decision.NoDecision, answer.diagnostics.errors
    named = (re.search(r"policy `([^`]*)`", str(message)) for message in answer.diagnostics.errors)
    erring = frozenset(match.group(1) for match in named if match)
    return answer.allowed, frozenset(answer.diagnostics.reasons), erring


def by_closures(given: Situation) -> Answer:
    """The concrete meaning, policy by policy."""
    scene = evaluation.Scene(given.request, given.store)
    satisfied, erring = set(), set()
    for name, node in given.policies.items():
        try:
            if evaluation.policy(node, name)(scene):
                satisfied.add(name)
        except EvaluationError:
            erring.add(name)
    return Answer(satisfied=frozenset(satisfied), erring=frozenset(erring))


def decided(given: Situation, answer: Answer) -> tuple[bool, frozenset[str], frozenset[str]]:
    """In the engine's terms."""
    return (*answer.decided(given.policies), answer.erring)


def is_only_answer(given: Situation, answer: Answer) -> bool:
    """Whether the solver finds the facts possible, and no other answer under them."""
    encoding = given.encode()
    other = encoding.other_answer(answer)
    solver = z3_backend.Solver(encoding.facts(given.request, given.store, other), RESOURCES)
    return (solver.check(), solver.check(other)) == (Verdict.SATISFIABLE, Verdict.UNSATISFIABLE)


def obligations(given: Situation) -> Iterator[tuple[Term, ...]]:
    """Questions for solvers: about every request, and about this one."""
    encoding = given.encode()
    other = encoding.other_answer(by_closures(given))
    if other is not encoding.universe.terms.false:
        yield (*encoding.axioms, other)
        facts = encoding.facts(given.request, given.store, other)
        yield facts
        yield (*facts, other)


def witnessed(given: Situation, name: str) -> Iterator[tuple[str, Situation]]:
    """For each thing that one policy can make of a request, by the solver: a request and a store where it does."""
    encoding = encodings.encode({name: given.policies[name]}, given.schema, given.kind)
    universe, outcome = encoding.universe, encoding.outcomes[name]
    is_satisfied = compiler.satisfied(outcome, universe)
    claims = {
        "satisfied": is_satisfied,
        "erring": universe.terms.negation(outcome.ok),
        "neither": universe.terms.both(outcome.ok, universe.terms.negation(is_satisfied)),
    }
    for what, claim in claims.items():
        roots = (*encoding.axioms, claim)
        solver = z3_backend.Solver(roots, RESOURCES)
        if solver.check() is Verdict.SATISFIABLE:
            request, store = witnesses.witness(universe, roots, solver.model(roots))
            asked = {
                **{
                    part: {"type": uid.type, "id": uid.id}
                    for part, uid in (
                        ("principal", request.principal),
                        ("action", request.action),
                        ("resource", request.resource),
                    )
                },
                "context": entities.written(dict(request.context)),
            }
            documents = entities.documents(store, given.schema)
            yield what, situation(given.schema_text, given.policies_text, documents, asked)


def by_both_solvers(assertions: tuple[Term, ...]) -> tuple[Verdict, Verdict]:
    """Z3 on the terms, cvc5 on the printed script."""
    return z3_backend.Solver(assertions, RESOURCES).check(), cvc5_backend.settle(smtlib.script(assertions))
