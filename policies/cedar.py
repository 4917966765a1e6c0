"""Cedar: grants, and names the rules that decided.

Allowed means that Cedar answered Allow *and* no rule erred: Cedar drops a `forbid` that errs and may answer Allow
without it. Rules are known by their `@id`, never by the parser's numbering, which changes when a set is sliced. For
each action and principal type the engine keeps, parsed, only the rules whose scope can match, and gives them only what
they read of the context, so a call pays for its own rules and not for the bundle's. Only this module evaluates;
`cedar_syntax` reads the same text as nodes.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import cedarpy
import orjson
from cedarpy import pst
from msgspec import Struct

from policies import cedar_syntax, footprint
from policies.errors import PolicyFault
from policies.questions import Entity, Question
from policies.schema import ActionType, CedarSchema

# 4,096 principals: enough for a busy tenant, and a few megabytes at most.
_PRINCIPALS_MAX = 4096
_ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
_NUMBER = re.compile(r"for policy `policy\d+`, ")  # The parser's own numbering says nothing to a reviewer.
_NOTHING = cedarpy.PolicySet.from_str("")

PrincipalType = Literal["Agent", "Person"]
PRINCIPAL_TYPES: tuple[PrincipalType, ...] = ("Agent", "Person")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One parsed policy."""

    id: str
    effect: Literal["permit", "forbid"]
    annotations: Mapping[str, str]
    node: pst.Template
    """The typed nodes, its id replaced by `@id`; proofs and compiled checks read them."""

    @property
    def hint(self) -> str:
        """What would pass, in a sentence for whoever was refused."""
        return self.annotations.get("hint", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleHit:
    """A rule that took part in a decision."""

    engine: Literal["cedar", "rego"]
    id: str
    effect: Literal["permit", "forbid", "deny", "obligation"]
    hint: str = ""
    name: str = field(init=False, repr=False, compare=False)
    """`engine:id`, as entries name it."""
    document: Mapping[str, str] = field(init=False, repr=False, compare=False)
    """As answers and packets show it."""

    def __post_init__(self) -> None:
        # Made when a bundle is loaded, so that a call that the rule decides need not.
        document = {"engine": self.engine, "id": self.id, "effect": self.effect}
        object.__setattr__(self, "name", f"{self.engine}:{self.id}")
        object.__setattr__(self, "document", {**document, "hint": self.hint} if self.hint else document)


class EngineAnswer(Struct, frozen=True, kw_only=True):
    """What Cedar said about one question."""

    allowed: bool
    """Allow, and nothing erred."""
    rules: tuple[RuleHit, ...]
    """The rules that determined it: permits of an Allow, forbids of a Deny. Empty when nothing permits."""
    errors: tuple[str, ...] = ()
    """Ids of rules that erred, or `no_decision`, `unknown_action`. Not empty: a policy error, whatever else holds."""
    hints: tuple[RuleHit, ...] = ()
    """When nothing permits: the permits that this principal type could meet, with what they ask."""


@dataclass(frozen=True, slots=True)
class _Slice:
    policies: cedarpy.PolicySet
    rules: Mapping[str, RuleHit]
    permits: tuple[RuleHit, ...]
    reads: footprint.Footprint


def parse(text: str) -> tuple[Rule, ...]:
    """
    Read rules in the order of their ids.

    Raises `PolicyFault` on a syntax error, a template, an id that is missing, unusable or given twice.
    """
    try:
        nodes = cedar_syntax.parse(text)
    except cedar_syntax.SyntaxRefused as error:
        raise PolicyFault(f"policies: not Cedar: {_first_line(error.__cause__ or error)}") from error
    rules: dict[str, Rule] = {}
    for node in nodes:
        identity = node.annotations.get("id", "")
        if not _ID.fullmatch(identity):
            raise PolicyFault("policies: every rule needs an `@id` of lower-case words joined by hyphens")
        if identity in rules:
            raise PolicyFault(f"rule `{identity}`: the id is given twice")
        effect: Literal["permit", "forbid"] = "permit" if node.effect == "permit" else "forbid"
        rules[identity] = Rule(
            id=identity, effect=effect, annotations=dict(node.annotations), node=replace(node, id=identity)
        )
    return tuple(rules[identity] for identity in sorted(rules))


def problems(text: str, schema: CedarSchema) -> tuple[str, ...]:
    """What strict validation against the schema finds, each naming its rule. Empty: every rule is well typed."""
    try:
        found = _refused(parse(text), schema)
    except ValueError as error:
        return (_first_line(error),)
    return tuple(f"rule `{name}`: {message}" for name, message in found)


def ill_typed(rules: Iterable[Rule], schema: CedarSchema) -> frozenset[str]:
    """The ids of the rules that are not well typed over the schema."""
    listed = tuple(rules)
    try:
        return frozenset(name for name, _ in _refused(listed, schema))
    except ValueError:
        return frozenset(rule.id for rule in listed)


def covers(rule: Rule, action: ActionType, principal_type: PrincipalType) -> bool:
    """Whether the rule's scope can match a question about that action by that type of principal."""
    return (
        _covers_action(rule.node.action, action)
        and _covers_entity(rule.node.principal, principal_type)
        and _covers_entity(rule.node.resource, action.resource_type)
    )


class Engine:
    """The rules of one bundle over one schema. Not for two threads at once: it keeps a cache of principals."""

    def __init__(self, policies: str | tuple[Rule, ...], schema: CedarSchema) -> None:
        """Raises `PolicyFault` as `parse` does. That the rules are well typed is checked by `problems`, not here."""
        self.rules: tuple[Rule, ...] = parse(policies) if isinstance(policies, str) else policies
        reads = {rule.id: footprint.paths(rule.node) for rule in self.rules}
        self._slices = {
            (action.name, principal_type): _slice(self.rules, reads, action, principal_type)
            for action in schema.typed.actions.values()
            for principal_type in PRINCIPAL_TYPES
        }
        self._hierarchy = cedarpy.Entities.from_json_str(_hierarchy(schema).decode())
        self._principals: OrderedDict[tuple[str, tuple[str, ...]], cedarpy.Entities] = OrderedDict()

    def decide(self, question: Question) -> EngineAnswer:
        """Answer one question. Every fault of the engine is an answer with errors: never an exception, never Allow."""
        part = self._slices.get((question.action, question.principal.type))  # type: ignore[arg-type]  # any text asks
        if part is None:
            return EngineAnswer(allowed=False, rules=(), errors=("unknown_action",))
        answer = self._ask(part, question)
        if answer is None:
            return EngineAnswer(allowed=False, rules=(), errors=("no_decision",))
        hits = tuple(part.rules[each] for each in sorted(answer.diagnostics.reasons))
        if answer.diagnostics.errors:
            erred = tuple(_erring(answer.diagnostics.errors, part.rules))
            return EngineAnswer(allowed=False, rules=hits, errors=erred)
        if answer.decision is cedarpy.Decision.Allow:
            return EngineAnswer(allowed=True, rules=hits)
        return EngineAnswer(allowed=False, rules=hits, hints=() if hits else part.permits)

    def raw_allow(self, question: Question) -> bool:
        """Cedar's own Allow, errors ignored: what proofs call permitted. Never a reason to let a call through."""
        part = self._slices.get((question.action, question.principal.type))  # type: ignore[arg-type]  # any text asks
        answer = self._ask(part, question) if part is not None else None
        return answer is not None and answer.decision is cedarpy.Decision.Allow

    def rules_for(self, action: str, principal_type: PrincipalType) -> tuple[RuleHit, ...]:
        """Every rule that is evaluated for such a question."""
        part = self._slices.get((action, principal_type))
        return () if part is None else tuple(part.rules.values())

    def _ask(self, part: _Slice, question: Question) -> cedarpy.AuthzResult | None:
        request = {
            "principal": {"type": question.principal.type, "id": question.principal.id},
            "action": {"type": "Action", "id": question.action},
            "resource": {"type": question.resource.type, "id": question.resource.id},
        }
        try:
            # As text: a dict would go the slower way through `json`. orjson refuses integers beyond 64 bits.
            request["context"] = orjson.dumps(footprint.cut(question.context, part.reads)).decode()  # type: ignore[assignment]
            answer = cedarpy.is_authorized(request, part.policies, self._entities(question))
        except (ValueError, TypeError):
            return None
        return None if answer.decision is cedarpy.Decision.NoDecision else answer

    def _entities(self, question: Question) -> cedarpy.Entities:
        """The action hierarchy and the principal with its roles, parsed once for each principal and set of roles."""
        if not question.roles:
            return self._hierarchy
        key = (question.principal.id, question.roles)
        known = self._principals.get(key)
        if known is None:
            known = self._hierarchy.with_added_json_str(_principal(question.principal, question.roles).decode())
            if len(self._principals) >= _PRINCIPALS_MAX:
                self._principals.popitem(last=False)
            self._principals[key] = known
        return known


def _refused(rules: Sequence[Rule], schema: CedarSchema) -> tuple[tuple[str, str], ...]:
    """What strict validation finds, by rule. Raises `ValueError` where it cannot even begin."""
    handle = _policy_set(rules)
    found = cedarpy.validate_policies(str(handle), schema.text) if len(handle) else None
    if found is None or found.validation_passed:
        return ()
    names: Mapping[str, str] = found.id_annotations_by_policy_id
    return tuple((names.get(each.policy_id, "?"), _NUMBER.sub("", _first_line(each.error))) for each in found.errors)


def _slice(
    rules: Sequence[Rule], reads: Mapping[str, footprint.Paths], action: ActionType, principal_type: PrincipalType
) -> _Slice:
    chosen = [rule for rule in rules if covers(rule, action, principal_type)]
    hits = {rule.id: RuleHit(engine="cedar", id=rule.id, effect=rule.effect, hint=rule.hint) for rule in chosen}
    permits = tuple(hit for hit in hits.values() if hit.effect == "permit")
    return _Slice(_policy_set(chosen), hits, permits, footprint.joined(reads[rule.id] for rule in chosen))


def _policy_set(rules: Sequence[Rule]) -> cedarpy.PolicySet:
    if not rules:
        return _NOTHING
    return cedarpy.PolicySet.from_pst(pst.PolicySet({}, {rule.id: rule.node for rule in rules}, ()))


def _covers_action(scope: pst.ActionConstraint, action: ActionType) -> bool:
    match scope:
        case pst.ActionEq(entity=entity):
            return entity.id == action.name
        case pst.ActionIn(entities=entities):
            return any(each.id == action.name or each.id in action.groups for each in entities)
        case _:
            return True


def _covers_entity(scope: pst.PrincipalOrResourceConstraint, name: str) -> bool:
    match scope:
        case pst.ScopeIs(entity_type=kind) | pst.ScopeIsIn(entity_type=kind):
            return kind.basename == name
        case pst.ScopeEq(entity=pst.EntityUid(type=kind)):
            return kind.basename == name
        case pst.ScopeIn(entity=pst.EntityUid(type=kind)):
            # Role is the only parent type, and only persons have one; anything is `in` itself.
            return kind.basename == name or (kind.basename == "Role" and name == "Person")
        case _:
            return True


def _erring(messages: Sequence[str], rules: Mapping[str, RuleHit]) -> Iterator[str]:
    """The ids that the messages name. A message may quote a value, so nothing else of it leaves this module."""
    for message in messages:
        yield next((each for each in rules if f"policy `{each}`" in message), "unnamed")


def _hierarchy(schema: CedarSchema) -> bytes:
    return orjson.dumps(
        [
            {
                "uid": {"type": "Action", "id": action.name},
                "attrs": {},
                "parents": [{"type": "Action", "id": group} for group in action.groups],
            }
            for action in schema.typed.actions.values()
        ]
    )


def _principal(principal: Entity, roles: tuple[str, ...]) -> bytes:
    parents = [{"type": "Role", "id": role} for role in roles]
    return orjson.dumps([{"uid": {"type": principal.type, "id": principal.id}, "attrs": {}, "parents": parents}])


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
