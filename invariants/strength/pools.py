"""Questions already found, with what every rule and invariant makes of them: most mutants need no solver.

A question that violates an invariant is refused by the bundle; a mutant that permits it is caught. One that a mutant
decides otherwise shows that the two are not equivalent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from invariants import tool_requests
from invariants.declared import Invariant
from invariants.errors import EvaluationError
from invariants.meaning import evaluation, schemas
from invariants.meaning.evaluation import Scene
from invariants.meaning.schemas import Schema
from policies.cedar import Rule
from policies.cedar_syntax import nodes as pst
from policies.questions import Question
from policies.schema import TypedSchema

Meaning = Callable[[Scene], bool | None]
"""Whether a policy is satisfied; None where it errs."""


@dataclass(frozen=True, slots=True)
class Known:
    """One question and what is made of it."""

    question: Question
    scene: Scene
    permits: frozenset[str]
    """Rules that are satisfied, by effect."""
    forbids: frozenset[str]
    erring: frozenset[str]
    violated: tuple[str, ...]
    """Invariants, in file order."""

    @property
    def is_permitted(self) -> bool:
        """Cedar's raw Allow."""
        return bool(self.permits) and not self.forbids

    def with_rule(self, identity: str, rule: Rule | None, meaning: Meaning) -> tuple[frozenset[str], ...]:
        """Permits, forbids and erring rules once a rule is another, or lost."""
        found = None if rule is None else meaning(self.scene)
        here = frozenset({identity})
        permits, forbids, erring = self.permits - here, self.forbids - here, self.erring - here
        if rule is None or found is False:
            return permits, forbids, erring
        if found is None:
            return permits, forbids, erring | here
        return (permits | here, forbids, erring) if rule.effect == "permit" else (permits, forbids | here, erring)


class Pool:
    """What is known, by tool and type of principal."""

    __slots__ = ("_general", "_invariants", "_known", "_rules")

    def __init__(self, rules: Iterable[Rule], invariants: Iterable[Invariant], schema: TypedSchema) -> None:
        self._general: Schema = schemas.of_tools(schema)
        self._rules = tuple((rule, meaning(rule.node)) for rule in rules)
        self._invariants = tuple((each, meaning(each.policy)) for each in invariants)
        self._known: dict[tuple[str, str], list[Known]] = {}

    def learn(self, question: Question) -> Known:
        """Evaluate a question, which keeps the assumptions of the proofs, and keep it."""
        known = self.evaluated(question)
        self.keep(known)
        return known

    def keep(self, known: Known) -> None:
        """Have it at hand from now on."""
        self._known.setdefault((known.question.action, known.question.principal.type), []).append(known)

    def evaluated(self, question: Question) -> Known:
        """What rules and invariants make of a question."""
        scene = Scene(tool_requests.request(question), tool_requests.store(question, self._general))
        found = [(rule, means(scene)) for rule, means in self._rules]
        return Known(
            question=question,
            scene=scene,
            permits=frozenset(rule.id for rule, truth in found if truth and rule.effect == "permit"),
            forbids=frozenset(rule.id for rule, truth in found if truth and rule.effect == "forbid"),
            erring=frozenset(rule.id for rule, truth in found if truth is None),
            violated=tuple(
                each.id
                for each, means in self._invariants
                if question.action in each.actions and means(scene) is not False
            ),
        )

    def about(self, action: str, principal: str) -> tuple[Known, ...]:
        """What is known of one type of request, newest first: neighbours among mutants are often caught alike."""
        return tuple(reversed(self._known.get((action, principal), ())))


def meaning(template: pst.Template) -> Meaning:
    """A policy as a closure that never raises."""
    satisfied = evaluation.policy(template, "mutant")

    def means(scene: Scene) -> bool | None:
        try:
            return satisfied(scene)
        except EvaluationError:
            return None

    return means
