"""Tool questions over the general compiler: it means what the prover's own does, and both solvers prove the bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from invariants import declared, tool_requests
from invariants.meaning import schemas
from invariants.meaning.grounding import Ground
from invariants.solving import cvc5_backend, smtlib, z3_backend
from invariants.solving.answers import Verdict
from invariants.tool_requests import ToolRequests
from policies import cedar
from policies.questions import Question
from policies.schema import generate
from tests.attacks.broken_bundles import MISTAKES, broken
from tests.properties import small_cedar
from tool_registry.registry import CATALOGUE, load_catalogue

BASE = Path(__file__).resolve().parents[2] / "policies" / "base"
POLICIES, INVARIANTS = ((BASE / name).read_text() for name in ("policies.cedar", "invariants.cedar"))
CONTRACTS = {contract.name: contract for contract in load_catalogue(CATALOGUE).contracts.values()}
SCHEMA = generate(CONTRACTS.values())
GENERAL = schemas.of_tools(SCHEMA.typed)
SMALL = schemas.of_tools(small_cedar.TYPED)
RESOURCES = 2_000_000


def encoded(policies: str, action: str) -> tuple[ToolRequests, ...]:
    argument = CONTRACTS[action].resource_argument
    return tool_requests.encode(cedar.parse(policies), SCHEMA.typed, SCHEMA.typed.actions[action], argument, GENERAL)


@pytest.mark.parametrize("action", sorted(CONTRACTS))
def test_both_solvers_prove_the_base_bundle(action: str) -> None:
    """
    No permitted request for the tool violates an invariant, by either solver, for either type of principal.
    """
    covering = [each for each in declared.read(INVARIANTS, SCHEMA.typed) if action in each.actions]
    reachable = []
    for requests in encoded(POLICIES, action):
        violated = [requests.violated(each.policy, each.id) for each in covering]
        given_ = requests.given()
        solver = z3_backend.Solver((*given_, requests.permitted), RESOURCES)
        reachable.append(solver.check())
        for statement, term in zip(covering, violated, strict=True):
            script = smtlib.script((*given_, requests.permitted, term))
            assert (solver.check(term), cvc5_backend.settle(script)) == (
                Verdict.UNSATISFIABLE,
                Verdict.UNSATISFIABLE,
            ), statement.id

    assert Verdict.UNKNOWN not in reachable
    assert Verdict.SATISFIABLE in reachable


def test_no_rule_of_the_base_bundle_can_err() -> None:
    """
    Under the assumptions of a question no rule errs, so no forbid is ever missing.
    """
    erring = set()
    for action in sorted(CONTRACTS):
        for requests in encoded(POLICIES, action):
            solver = z3_backend.Solver(requests.given(), RESOURCES)
            for rule in requests.rules:
                if solver.check(requests.errs(rule)) is not Verdict.UNSATISFIABLE:
                    erring.add(rule.id)

    assert erring == set()


@pytest.mark.parametrize("invariant", MISTAKES)
def test_both_solvers_see_a_mistaken_guard(invariant: str) -> None:
    """
    What the prover refutes of a mistaken bundle, both solvers find possible in general terms.
    """
    text = broken(next(iter(MISTAKES[invariant].values())))
    (statement,) = (each for each in declared.read(INVARIANTS, SCHEMA.typed) if each.id == invariant)
    verdicts = set()
    for action in statement.actions:
        for requests in encoded(text, action):
            violated = requests.violated(statement.policy, statement.id)
            assertions = (*requests.given(), requests.permitted, violated)
            one = z3_backend.Solver(assertions, RESOURCES).check()
            assert one is cvc5_backend.settle(smtlib.script(assertions))
            verdicts.add(one)

    assert Verdict.SATISFIABLE in verdicts


def test_forms_beyond_the_provers_own_are_proved() -> None:
    """
    `like`, sets and addresses in a rule: the solver knows what follows from them.
    """
    text = """@id("all") permit (principal, action, resource);
@id("only") forbid (principal, action == Action::"issue_refund", resource)
unless { context.arguments.order_id like "ord_*" && ["dev", "prod"].containsAny([context.environment]) };"""
    invariant = """@id("known") @sentence("Orders and places are known.")
forbid (principal, action == Action::"issue_refund", resource)
when { !(context.arguments.order_id like "or*")
  || !(context.environment like "*o*" || context.environment like "*v") };"""
    (statement,) = declared.read(invariant, SCHEMA.typed)

    for requests in encoded(text, "issue_refund"):
        violated = requests.violated(statement.policy, statement.id)
        solver = z3_backend.Solver((*requests.given(), requests.permitted), RESOURCES)
        assert (solver.check(), solver.check(violated)) == (Verdict.SATISFIABLE, Verdict.UNSATISFIABLE)


@settings(max_examples=120, deadline=None)
@given(small_cedar.policy_sets(), small_cedar.questions())
def test_permitted_is_raw_allow_in_general_terms_too(policies: str, question: Question) -> None:
    """
    Bound to a question, the solver finds a set of rules to permit exactly what the engine allows.
    """
    kinds = tool_requests.encode(cedar.parse(policies), small_cedar.TYPED, small_cedar.ACTION, None, SMALL)
    requests = next(each for each in kinds if each.principal == question.principal.type)
    allowed = cedar.Engine(policies, small_cedar.SCHEMA).raw_allow(question)
    terms = requests.universe.terms
    other = terms.negation(requests.permitted) if allowed else requests.permitted
    axioms = requests.universe.axioms()

    ground = Ground(requests.universe, tool_requests.request(question), tool_requests.store(question, SMALL))
    solver = z3_backend.Solver((*axioms, *ground.facts((*axioms, other))), RESOURCES)

    assert (solver.check(), solver.check(other)) == (Verdict.SATISFIABLE, Verdict.UNSATISFIABLE)
