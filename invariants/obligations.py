"""Obligations: what has to be shown of one invariant for one action.

*No question is permitted and violates the invariant.* Permitted means Cedar's raw Allow with errors ignored: some
permit is satisfied and no forbid is, so a forbid that errs is missing, as it would be. Violated means that the
invariant's forbid is satisfied or errs. Both are terms over the unknowns of the action's questions, under the
assumptions below and no others.

An obligation has a text that depends on policies, schema and invariant alone; its digest goes into the certificate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from invariants import symbolic
from invariants.errors import Unsupported
from invariants.solving import smtlib
from invariants.solving.terms import Term
from invariants.statements import Statement
from invariants.vocabulary import Bool, Long, Outcome, RecordValue, String, Vocabulary
from policies import cedar_syntax
from policies.cedar import Rule
from policies.questions import APPROVER_ROLES
from policies.schema import ActionType, LongType, StringType

ASSUMPTIONS = (
    "integers of a question lie in the ranges of the schema",
    "a string with choices is one of them",
    "context.risk is the value of the contract's risk expression, which does not err",
    "a principal is an agent without roles, or a person with autonomy 0 and not registered",
    "an approval count of a role is at most the number of persons, which is at most the sum of the roles' counts",
    "the resource has the schema's type, and as its id the contract's argument, or the tenant",
    "entities are the principal with its roles and the action with its groups; none has attributes or tags",
    "questions, certificates and proofs use one version of engine and schema",
)
"""What a proof takes for granted, in the words of the certificate. Building a question keeps all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One invariant over one action."""

    invariant: str
    action: str
    vocabulary: Vocabulary
    assumptions: tuple[Term, ...]
    permitted: Term
    violated: Term
    is_closed: bool
    """No permit covers the action: nothing is permitted whatever the question, and there is no premise to reach."""

    @property
    def text(self) -> str:
        """Everything the verdict depends on, portable and in one order."""
        vocabulary = self.vocabulary
        table = {
            "encoder": symbolic.ENCODER_VERSION,
            "invariant": self.invariant,
            "action": self.action,
            "symbols": [[symbol.number, symbol.sort.value, list(symbol.path)] for symbol in vocabulary.symbols],
            "names": list(vocabulary.names),
        }
        script = smtlib.script((*self.assumptions, self.permitted, self.violated))
        return f"; {json.dumps(table, ensure_ascii=True, separators=(',', ':'))}\n{script}"

    @property
    def digest(self) -> str:
        """Take it before `counterexamples` asks for further names."""
        return f"sha256:{sha256(self.text.encode()).hexdigest()}"


def build(statement: Statement, rules: Iterable[Rule], action: ActionType, resource_argument: str | None) -> Obligation:
    """
    Write down what has to be shown.

    Raises `Unsupported` when a rule for this action, the invariant or the risk expression has no exact meaning.
    """
    vocabulary = Vocabulary(action)
    terms = vocabulary.terms
    groups = {action.name: frozenset(action.groups)}
    satisfied: dict[str, list[Term]] = {"permit": [], "forbid": []}
    for rule in rules:
        if cedar_syntax.action_is_covered(rule.node, action.name, groups):
            outcome = symbolic.policy(rule.node, vocabulary, f"rule `{rule.id}`")
            satisfied[rule.effect].append(symbolic.satisfied(outcome, terms))
    permitted = terms.both(
        terms.disjunction(satisfied["permit"]), terms.negation(terms.disjunction(satisfied["forbid"]))
    )
    forbidden = symbolic.policy(statement.policy, vocabulary, f"invariant `{statement.id}`")
    violated = terms.either(terms.negation(forbidden.ok), symbolic.satisfied(forbidden, terms))
    return Obligation(
        invariant=statement.id,
        action=action.name,
        vocabulary=vocabulary,
        assumptions=tuple(_assumptions(vocabulary, resource_argument)),
        permitted=permitted,
        violated=violated,
        is_closed=not satisfied["permit"],
    )


def _assumptions(vocabulary: Vocabulary, resource_argument: str | None) -> Iterator[Term]:
    """Ranges come last: the others may bring unknowns of their own."""
    yield from _risk(vocabulary)
    yield from _principal(vocabulary)
    yield from _resource(vocabulary, resource_argument)
    yield from _approvals(vocabulary)
    yield from _ranges(vocabulary)


def _risk(vocabulary: Vocabulary) -> Iterator[Term]:
    where = f"risk of `{vocabulary.action.name}`"
    try:
        node = cedar_syntax.parse_expression(vocabulary.action.risk)
    except cedar_syntax.SyntaxRefused as error:
        raise Unsupported("risk_unreadable", where) from error
    defined = symbolic.expression(node, vocabulary, where)
    stated = _at(vocabulary, "risk")
    if not isinstance(defined.value, Long) or stated is None or not isinstance(stated.value, Long):
        raise Unsupported("risk_not_long", where)
    yield defined.ok
    yield vocabulary.terms.equal(stated.value.term, defined.value.term)


def _principal(vocabulary: Vocabulary) -> Iterator[Term]:
    terms = vocabulary.terms
    principal = vocabulary.principal()
    is_person = terms.equal(principal.type, vocabulary.name("Person"))
    yield terms.either(is_person, terms.equal(principal.type, vocabulary.name("Agent")))
    for symbol in vocabulary.symbols:
        if symbol.path[0] == "role":
            yield terms.implication(vocabulary.has_role(symbol.path[1]), is_person)
    autonomy = _at(vocabulary, "autonomy")
    if autonomy is not None and isinstance(autonomy.value, Long):
        yield terms.implication(is_person, terms.equal(autonomy.value.term, terms.integer(0)))
    registered = _at(vocabulary, "registered")
    if registered is not None and isinstance(registered.value, Bool):
        yield terms.implication(is_person, terms.negation(registered.value.term))


def _resource(vocabulary: Vocabulary, argument: str | None) -> Iterator[Term]:
    if not vocabulary.is_known(("resource", "id")):
        return
    if argument is not None:
        named = _at(vocabulary, "arguments", argument)
    else:
        named = _at(vocabulary, "tenant") if vocabulary.action.resource_type == "Tenant" else None
    if named is not None and isinstance(named.value, String):
        is_same = vocabulary.terms.equal(vocabulary.resource().id, named.value.term)
        yield vocabulary.terms.implication(named.ok, is_same)


def _approvals(vocabulary: Vocabulary) -> Iterator[Term]:
    terms = vocabulary.terms
    if not any(symbol.path[:2] == ("context", "approvals") for symbol in vocabulary.symbols):
        return
    persons = _count(vocabulary, "persons")
    total = terms.integer(0)
    for role in APPROVER_ROLES:
        count = _count(vocabulary, role)
        total = terms.add(total, count)
        yield terms.less_equal(count, persons)
    yield terms.less_equal(persons, total)


def _at(vocabulary: Vocabulary, *path: str) -> Outcome | None:
    """A member of the context by its path, if the schema has one."""
    found = Outcome(vocabulary.terms.true, vocabulary.context())
    for name in path:
        member = vocabulary.member(found.value, name) if isinstance(found.value, RecordValue) else None
        if member is None:
            return None
        found = Outcome(vocabulary.terms.both(found.ok, member.ok), member.value)
    return found


def _count(vocabulary: Vocabulary, name: str) -> Term:
    member = _at(vocabulary, "approvals", name)
    if member is None or not isinstance(member.value, Long):
        raise Unsupported("approvals_not_counts", f"action `{vocabulary.action.name}`")
    return member.value.term


def _ranges(vocabulary: Vocabulary) -> Iterator[Term]:
    terms = vocabulary.terms
    for symbol in vocabulary.symbols:
        unknown = terms.symbol(symbol.sort, symbol.number)
        match symbol.type:
            case LongType(minimum=minimum, maximum=maximum):
                yield terms.within(unknown, minimum, maximum)
            case StringType(choices=choices) if choices:
                yield terms.disjunction(terms.equal(unknown, vocabulary.name(choice)) for choice in choices)
            case _:
                pass
