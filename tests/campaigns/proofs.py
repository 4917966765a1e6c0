"""P6: proved means proved. Random rules and invariants over a domain small enough to try every question of it.

The solver's verdict on each obligation is held against brute force: the closures of the gateway evaluate rules and
invariant on all questions that the assumptions admit. Beside that, claims that nobody could know (no resources) or that
say nothing (nothing is permitted) are planted: none may count as proved.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from invariants import declared, obligations, tool_requests
from invariants.errors import EvaluationError
from invariants.jobs import Job, ProofLimits
from invariants.meaning import evaluation, schemas
from invariants.meaning.evaluation import Scene
from invariants.obligations import Kind, Sheet
from invariants.prover import run as prove
from invariants.reports import Verdict, hollow
from invariants.solving.answers import Verdict as Answer
from invariants.solving.z3_backend import Solver
from policies import cedar_syntax
from policies.cedar import PRINCIPAL_TYPES, Engine
from policies.questions import APPROVER_ROLES, Entity, Question
from policies.schema import (
    APPROVALS,
    ActionType,
    Attribute,
    BoolType,
    CedarSchema,
    LongType,
    RecordType,
    StringType,
    TypedSchema,
)
from tests.campaigns.tallies import Part, Tally

PARTS = 4
BUNDLES_PER_PART = 1250
INVARIANTS = 10
"""Of each set of rules, for agents and for persons: 20 instances."""
PLANTED_PER_PART = 250

_A, _B, _F = range(4), range(-1, 3), range(3)
_MODES = (None, "x", "y")
_LONG = ("context.arguments.a", "context.arguments.b", "context.facts.f.f", "context.risk")
_BOOL = ("context.arguments.flag", "context.registered", "context.arguments has mode", "true", "principal is Agent")
_NUMBERS = ("0", "1", "2", "3", "-1", "9223372036854775807", "4611686018427387904")
_SHUT = '\n@id("shut") forbid (principal, action, resource);'
_RISK = "if context.arguments.a > 1 then 2 else 1"


def _long(values: range) -> LongType:
    return LongType(minimum=values.start, maximum=values.stop - 1)


_ACTION = ActionType(
    name="act",
    groups=("write",),
    resource_type="Order",
    context=RecordType(
        (
            Attribute(
                name="arguments",
                type=RecordType(
                    (
                        Attribute(name="a", type=_long(_A)),
                        Attribute(name="b", type=_long(_B)),
                        Attribute(name="mode", type=StringType(choices=("x", "y")), is_required=False),
                        Attribute(name="flag", type=BoolType()),
                    )
                ),
            ),
            Attribute(
                name="facts",
                type=RecordType((Attribute(name="f", type=RecordType((Attribute(name="f", type=_long(_F)),))),)),
            ),
            Attribute(name="approvals", type=APPROVALS),
            Attribute(name="risk", type=_long(range(4))),
            Attribute(name="autonomy", type=_long(range(5))),
            Attribute(name="registered", type=BoolType()),
            Attribute(name="reason_code", type=StringType()),
            Attribute(name="environment", type=StringType()),
            Attribute(name="tenant", type=StringType()),
            Attribute(name="now", type=_long(range(2))),
        )
    ),
    risk=_RISK,
)
_TYPED = TypedSchema(actions={"act": _ACTION}, entity_types=("Agent", "Order", "Person", "Role", "Tenant"))
_SCHEMA = CedarSchema(text="", typed=_TYPED, digest="")
_GENERAL = schemas.of_tools(_TYPED)


@dataclass(frozen=True, slots=True)
class Instance:
    """Rules, and the claims about them."""

    policies: str
    conditions: tuple[str, ...]

    def job(self) -> Job:
        """As the gate would prove them."""
        texts = [
            f'@id("i{number}") @sentence("Never.") forbid (principal, action, resource) when {{ {condition} }};'
            for number, condition in enumerate(self.conditions)
        ]
        return Job(
            policies=self.policies, invariants="\n".join(texts), schema=_SCHEMA, resource_arguments={"act": None}
        )


def run(part: Part) -> Iterable[Tally]:
    """Some sets of rules, and some planted claims."""
    draw, failures, verdicts = part.chance(), list[str](), Counter[str]()
    bundles = part.size(BUNDLES_PER_PART, 12)
    for number in range(bundles):
        instance = _instance(draw, INVARIANTS)
        for told in _wrong(instance, verdicts, asks_engine=number % 50 == 0):
            failures.append(told)
    yield Tally(
        guarantee="P6",
        tried="random rules and invariants: solver and brute force",
        times=verdicts.total(),
        failures=tuple(failures),
        figures=dict(sorted(verdicts.items())),
    )
    yield _planted(part, draw)


def _wrong(instance: Instance, verdicts: Counter[str], *, asks_engine: bool) -> Iterator[str]:
    """What the solver says otherwise than brute force."""
    job = instance.job()
    read = declared.read(job.invariants, _TYPED)
    for sheet in obligations.sheets(job):
        if not isinstance(sheet, Sheet) or sheet.refused:
            verdicts["refused"] += len(read)
            continue
        settled = _settled(sheet, job.limits.resources)
        permitted = [each for each in _questions(sheet.requests.principal) if _is_permitted(instance, each)]
        if asks_engine:
            engine = Engine(instance.policies, _SCHEMA)
            allowed = [each for each in _questions(sheet.requests.principal) if engine.raw_allow(each)]
            if allowed != permitted:
                yield f"closures permit other questions than the engine, under {instance.policies}"
        for number, statement in enumerate(read):
            expected = _by_force(statement.policy, permitted)
            found = _verdict(settled, statement.id)
            verdicts[found.value] += 1
            if found is not expected and found is not Verdict.UNKNOWN:
                condition = instance.conditions[number]
                yield f"{found.value}, by brute force {expected.value}: `{condition}` under {instance.policies}"


def _settled(sheet: Sheet, resources: int) -> dict[tuple[Kind, str], Answer]:
    goals = [obligation.goal for obligation in sheet.obligations]
    solver = Solver(sheet.given, resources, goals)
    return {(each.kind, each.subject): solver.settle(place) for place, each in enumerate(sheet.obligations)}


def _verdict(settled: dict[tuple[Kind, str], Answer], invariant: str) -> Verdict:
    """As the gate reads the answers (`docs/invariants.md`)."""
    if Answer.UNKNOWN in (settled[Kind.PREMISE, ""], settled[Kind.INVARIANT, invariant]):
        return Verdict.UNKNOWN
    if settled[Kind.INVARIANT, invariant] is Answer.SATISFIABLE:
        return Verdict.REFUTED
    return Verdict.PROVED if settled[Kind.PREMISE, ""] is Answer.SATISFIABLE else Verdict.VACUOUS


def _by_force(invariant: cedar_syntax.Template, permitted: list[Question]) -> Verdict:
    """Every permitted question, tried."""
    if not permitted:
        return Verdict.VACUOUS
    violated = evaluation.policy(invariant, "invariant")
    return Verdict.REFUTED if any(_meets(violated, each, if_erring=True) for each in permitted) else Verdict.PROVED


def _is_permitted(instance: Instance, question: Question) -> bool:
    """Cedar's raw Allow, by the closures: a rule that errs is not there."""
    met = [effect for effect, rule in _compiled(instance.policies) if _meets(rule, question, if_erring=False)]
    return "permit" in met and "forbid" not in met


_kept: tuple[str, list[tuple[str, Any]]] = ("", [])


def _compiled(policies: str) -> list[tuple[str, Any]]:
    global _kept  # noqa: PLW0603 - the rules of the instance at hand, compiled once
    if _kept[0] != policies:
        _kept = (policies, [(rule.effect, evaluation.policy(rule, "rule")) for rule in cedar_syntax.parse(policies)])
    return _kept[1]


def _meets(rule: Any, question: Question, *, if_erring: bool) -> bool:
    try:
        return bool(rule(_scene(question)))
    except EvaluationError:
        return if_erring


_scenes: dict[int, Scene] = {}


def _scene(question: Question) -> Scene:
    scene = _scenes.get(id(question))
    if scene is None:
        scene = _scenes[id(question)] = Scene(tool_requests.request(question), tool_requests.store(question, _GENERAL))
    return scene


def _every(principal: str) -> Iterator[Question]:
    """All questions of the domain; what the rules never read stays as it is."""
    for a, b, f, mode, flag, registered in product(_A, _B, _F, _MODES, (False, True), (False, True)):
        if registered and principal == "Person":
            continue  # The gateway never builds such a question.
        arguments: dict[str, Any] = {"a": a, "b": b, "flag": flag, **({} if mode is None else {"mode": mode})}
        yield Question(
            principal=Entity(type=principal, id="p"),  # type: ignore[arg-type]
            roles=(),
            action="act",
            resource=Entity(type="Order", id="o"),
            context={
                "arguments": arguments,
                "facts": {"f": {"f": f}},
                "approvals": dict.fromkeys(("persons", *APPROVER_ROLES), 0),
                "risk": 2 if a > 1 else 1,
                "autonomy": 0,
                "registered": registered,
                "reason_code": "",
                "environment": "dev",
                "tenant": "t",
                "now": 0,
            },
        )


_DOMAIN = {principal: list(_every(principal)) for principal in PRINCIPAL_TYPES}


def _questions(principal: str) -> list[Question]:
    return _DOMAIN[principal]  # type: ignore[index]


def _planted(part: Part, draw: random.Random) -> Tally:
    """Claims that nobody can know, or that say nothing."""
    planted, passed, unknown = part.size(PLANTED_PER_PART, 6), list[str](), 0
    for number in range(planted):
        instance = _instance(draw, 1)
        if number % 2:
            instance = replace(instance, policies=instance.policies + _SHUT)
            premises = [each for each in hollow(tuple(prove(instance.job()))) if each.kind == "premise"]
            told = [] if any(each.verdict is Verdict.VACUOUS for each in premises) else ["let through"]
        else:
            starved = replace(instance.job(), limits=ProofLimits(resources=1))
            found = [each for each in prove(starved) if each.invariant == "i0"]
            unknown += sum(each.verdict is Verdict.UNKNOWN for each in found)
            told = [each.verdict.value for each in found if each.verdict is Verdict.PROVED]
            told = told if told and Verdict.REFUTED in _forced(instance) else []
        passed += [f"{each}: `{instance.conditions[0]}` under {instance.policies}" for each in told]
    tried = "planted claims: no resources, or nothing permitted"
    return Tally(guarantee="P6", tried=tried, times=planted, failures=tuple(passed), figures={"unknown": unknown})


def _forced(instance: Instance) -> set[Verdict]:
    """What brute force says of the first claim, for each type of principal."""
    (statement, *_) = declared.read(instance.job().invariants, _TYPED)
    every = [[each for each in _questions(kind) if _is_permitted(instance, each)] for kind in PRINCIPAL_TYPES]
    return {_by_force(statement.policy, permitted) for permitted in every}


def _instance(draw: random.Random, claims: int) -> Instance:
    """Rules at random, and claims at random, or close to what a guard among the rules forbids."""
    guards = [_bool(draw, 2) for _ in range(draw.randint(0, 3))]
    texts = [f'@id("r0") permit (principal, action, resource) {_clauses(draw, 1)};']
    texts += [f'@id("g{n}") forbid (principal, action, resource) when {{ {it} }};' for n, it in enumerate(guards)]
    if draw.random() < 0.5:
        effect, principal = (
            draw.choice(("permit", "forbid")),
            draw.choice(("principal is Agent", "principal is Person")),
        )
        texts.append(f'@id("s0") {effect} ({principal}, action, resource) {_clauses(draw, 2)};')
    draw.shuffle(texts)
    return Instance("\n".join(texts), tuple(_claim(draw, guards) for _ in range(claims)))


def _claim(draw: random.Random, guards: Sequence[str]) -> str:
    if not guards or draw.random() < 0.4:
        return _bool(draw, 2)
    guard = draw.choice(guards)
    return draw.choice((guard, f"({guard}) && ({_bool(draw, 1)})", f"({guard}) || ({_bool(draw, 1)})"))


def _clauses(draw: random.Random, most: int) -> str:
    return " ".join(f"{draw.choice(('when', 'unless'))} {{ {_bool(draw, 2)} }}" for _ in range(draw.randint(0, most)))


def _bool(draw: random.Random, depth: int) -> str:
    if depth == 0:
        return draw.choice(_BOOL)
    match draw.randrange(7):
        case 0:
            return draw.choice(_BOOL)
        case 1:
            return f"!({_bool(draw, depth - 1)})"
        case 2:
            return f"({_bool(draw, depth - 1)} {draw.choice(('&&', '||'))} {_bool(draw, depth - 1)})"
        case 3:
            return f'context.arguments has mode && context.arguments.mode == "{draw.choice("xyz")}"'
        case 4:
            return f'context.arguments.mode == "{draw.choice("xy")}"'  # Errs where there is none.
        case _:
            operator = draw.choice(("<", "<=", ">", ">=", "==", "!="))
            return f"{_number(draw, 2)} {operator} {_number(draw, 2)}"


def _number(draw: random.Random, depth: int) -> str:
    if depth == 0 or draw.random() < 0.4:
        return draw.choice((*_LONG, *_LONG, f"({draw.choice(_NUMBERS)})"))
    if draw.random() < 0.15:
        return f"(if {_bool(draw, 1)} then {_number(draw, depth - 1)} else {_number(draw, depth - 1)})"
    return f"({_number(draw, depth - 1)} {draw.choice('+-*')} {_number(draw, depth - 1)})"
