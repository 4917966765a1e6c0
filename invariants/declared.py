"""Invariants as a bundle declares them, read: id, sentence, condition. Nothing is evaluated or proved here.

An invariant is a Cedar `forbid` with a unique `@id` and a `@sentence` that anyone can read. It is violated by a
question for which the forbid is satisfied, and by one for which it errs: what cannot be evaluated is not known to hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from invariants.errors import Unreadable
from policies import cedar_syntax
from policies.schema import TypedSchema

# Ids stand in entries, certificates and answers.
_ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
_SENTENCE_CHARACTERS_MAX = 400
_INVARIANTS_MAX = 500  # A set that no person can read protects nobody.


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """A condition that no permitted question may violate."""

    id: str
    sentence: str
    policy: cedar_syntax.Template
    """The forbid itself."""
    actions: tuple[str, ...]
    """Every tool of the schema that its action scope covers, sorted."""


def read(text: str, schema: TypedSchema) -> tuple[Invariant, ...]:
    """
    Read invariants in file order.

    Raises `Unreadable` when one has no usable id or sentence, shares its id, or is not a forbid. An invariant that
    covers no action is read: the prover calls it vacuous.
    """
    try:
        policies = cedar_syntax.parse(text)
    except cedar_syntax.SyntaxRefused as error:
        raise Unreadable(str(error)) from error
    if len(policies) > _INVARIANTS_MAX:
        raise Unreadable(f"more than {_INVARIANTS_MAX} invariants")
    groups = {name: frozenset(action.groups) for name, action in schema.actions.items()}
    found: list[Invariant] = []
    seen: set[str] = set()
    for number, policy in enumerate(policies, start=1):
        invariant = _invariant(policy, number, groups)
        if invariant.id in seen:
            raise Unreadable(f"invariant {number}: its id is taken")
        seen.add(invariant.id)
        found.append(invariant)
    return tuple(found)


def _invariant(policy: cedar_syntax.Template, number: int, groups: dict[str, frozenset[str]]) -> Invariant:
    identifier, sentence = policy.annotations.get("id", ""), policy.annotations.get("sentence", "")
    if not _ID.fullmatch(identifier):
        raise Unreadable(f"invariant {number}: `@id` of lower-case letters, digits and hyphens expected")
    if not 0 < len(sentence) <= _SENTENCE_CHARACTERS_MAX:
        raise Unreadable(
            f"invariant `{identifier}`: `@sentence` of at most {_SENTENCE_CHARACTERS_MAX} characters expected"
        )
    if policy.effect != "forbid":
        raise Unreadable(f"invariant `{identifier}`: a forbid expected")
    covered = tuple(sorted(name for name in groups if cedar_syntax.action_is_covered(policy, name, groups)))
    return Invariant(id=identifier, sentence=sentence, policy=policy, actions=covered)
