"""Mutants: every rule of a bundle with one small mistake in it, made by program.

A mistake is one that a hurried author makes and a hurried reviewer overlooks: a comparison turned or made loose, a
condition forgotten, a constant beside the right one, another role, a wider scope, a rule lost. Each mutant has one of
them. Some mutants are no policies of the schema at all, and some mean what the rule means: who asks decides that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from policies import cedar_text
from policies.cedar import Rule
from policies.cedar_syntax import LONG_MAX, LONG_MIN, subexpressions
from policies.cedar_syntax import nodes as pst
from policies.questions import APPROVER_ROLES, ROLES


@unique
class Mistake(StrEnum):
    """What is done to a rule."""

    RULE_REMOVED = "rule_removed"
    EFFECT_SWAPPED = "effect_swapped"
    SCOPE_WIDENED = "scope_widened"
    SCOPE_NARROWED = "scope_narrowed"
    SCOPE_SWAPPED = "scope_swapped"
    CLAUSE_DROPPED = "clause_dropped"
    CLAUSE_NEGATED = "clause_negated"
    CONJUNCT_DROPPED = "conjunct_dropped"
    DISJUNCT_DROPPED = "disjunct_dropped"
    JUNCTION_SWAPPED = "junction_swapped"
    CONDITION_NEGATED = "condition_negated"
    COMPARISON_MOVED = "comparison_moved"
    """Made strict or loose."""
    COMPARISON_FLIPPED = "comparison_flipped"
    """Any other one."""
    CONSTANT_MOVED = "constant_moved"
    """By one."""
    DIGIT_SLIPPED = "digit_slipped"
    """A zero too many or too few."""
    TERM_DROPPED = "term_dropped"
    SIGN_SWAPPED = "sign_swapped"
    FIELD_SWAPPED = "field_swapped"
    ROLE_SWAPPED = "role_swapped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One rule with one mistake."""

    id: str
    """`rule/mistake/number`: the same for the same rule, whatever else the bundle holds."""
    rule: str
    mistake: Mistake
    sentence: str
    """The mistake in words."""
    node: pst.Template | None
    """The mutated rule. None: it was removed."""

    @property
    def text(self) -> str:
        """The mutated rule as Cedar text. Empty: it was removed."""
        return "" if self.node is None else cedar_text.policy(self.node)


@dataclass(frozen=True, slots=True)
class _Edit:
    """Another node in the place of one, and why."""

    mistake: Mistake
    sentence: str
    node: pst.Expr


def mutants(rules: Iterable[Rule]) -> Iterator[Mutant]:
    """Every mutant of every rule, in the order of the rules. No two mutants of a rule are the same policy."""
    listed = tuple(rules)
    author = _Author(listed)
    for rule in listed:
        seen: set[pst.Template | None] = {rule.node}
        numbers: Counter[Mistake] = Counter()
        for mistake, sentence, node in author.mutated(rule.node):
            if node not in seen:
                seen.add(node)
                numbers[mistake] += 1
                identity = f"{rule.id}/{mistake}/{numbers[mistake]}"
                yield Mutant(id=identity, rule=rule.id, mistake=mistake, sentence=sentence, node=node)


_Whole = tuple[Mistake, str, pst.Template | None]

_COMPARISONS: tuple[pst.BinaryOpName, ...] = ("less", "less_eq", "greater", "greater_eq", "eq", "not_eq")
_BESIDE = {("less", "less_eq"), ("greater", "greater_eq"), ("less_eq", "eq"), ("eq", "greater_eq")}
"""Comparisons that differ in the case of equality, or in one side of it, only."""
_OPPOSITE: Mapping[str, tuple[str, ...]] = {
    "reversible": ("irreversible",),
    "irreversible": ("reversible",),
    "read": ("write",),
    "write": ("read",),
}
_NARROWER: Mapping[str, tuple[str, ...]] = {"write": ("reversible", "irreversible")}
_PRINCIPALS = ("Agent", "Person")
_OF_ROLE = "-approves"


class _Author:
    """Who makes the mistakes; knows which tools and members the rules of the bundle name."""

    __slots__ = ("_siblings", "_tools")

    def __init__(self, rules: Iterable[Rule]) -> None:
        listed = tuple(rules)
        self._tools = sorted(
            {rule.node.action.entity.id for rule in listed if isinstance(rule.node.action, pst.ActionEq)}
        )
        parts = [part for rule in listed for clause in rule.node.clauses for part in subexpressions(clause.expr)]
        read = dict.fromkeys(part for part in parts if isinstance(part, pst.GetAttr))
        self._siblings: dict[pst.Expr, list[str]] = {}
        for member in read.keys() - {part.base for part in read}:
            self._siblings.setdefault(member.base, []).append(member.attr)

    def mutated(self, template: pst.Template) -> Iterator[_Whole]:
        yield Mistake.RULE_REMOVED, "the rule is lost", None
        other: pst.Effect = "forbid" if template.effect == "permit" else "permit"
        yield Mistake.EFFECT_SWAPPED, f"`{template.effect}` becomes `{other}`", replace(template, effect=other)
        yield from self._principals(template)
        yield from self._actions(template)
        for place, clause in enumerate(template.clauses):
            yield from self._clauses(template, place, clause)

    def _clauses(self, template: pst.Template, place: int, clause: pst.Clause) -> Iterator[_Whole]:
        def with_clause(*clauses: pst.Clause) -> pst.Template:
            return replace(template, clauses=(*template.clauses[:place], *clauses, *template.clauses[place + 1 :]))

        word, other = ("when", pst.Unless) if isinstance(clause, pst.When) else ("unless", pst.When)
        yield Mistake.CLAUSE_DROPPED, f"the `{word}` is forgotten", with_clause()
        negated = "unless" if word == "when" else "when"
        yield Mistake.CLAUSE_NEGATED, f"`{word}` becomes `{negated}`", with_clause(other(clause.expr))
        for edit in self._everywhere(clause.expr):
            yield edit.mistake, edit.sentence, with_clause(type(clause)(edit.node))

    # --- scopes ------------------------------------------------------------------------------------------------------

    def _principals(self, template: pst.Template) -> Iterator[_Whole]:
        def become(mistake: Mistake, scope: pst.PrincipalOrResourceConstraint) -> _Whole:
            mutated = replace(template, principal=scope)
            return mistake, f"{_head(template)} becomes {_head(mutated)}", mutated

        match template.principal:
            case pst.ScopeAny():
                for kind in _PRINCIPALS:
                    yield become(Mistake.SCOPE_NARROWED, pst.ScopeIs(pst.EntityType(kind)))
            case pst.ScopeIs(entity_type=kind):
                yield become(Mistake.SCOPE_WIDENED, pst.ScopeAny())
                for other in _PRINCIPALS:
                    yield become(Mistake.SCOPE_SWAPPED, pst.ScopeIs(replace(kind, basename=other)))
            case pst.ScopeIn(entity=pst.EntityUid(id=role) as uid):
                yield become(Mistake.SCOPE_WIDENED, pst.ScopeAny())
                yield become(Mistake.SCOPE_WIDENED, pst.ScopeIs(pst.EntityType("Person")))
                if role in ROLES:
                    yield become(Mistake.ROLE_SWAPPED, pst.ScopeIn(replace(uid, id=_next(role, ROLES))))
            case _:
                return

    def _actions(self, template: pst.Template) -> Iterator[_Whole]:
        def become(mistake: Mistake, scope: pst.ActionConstraint) -> _Whole:
            mutated = replace(template, action=scope)
            return mistake, f"{_head(template)} becomes {_head(mutated)}", mutated

        match template.action:
            case pst.ScopeAny():
                yield become(Mistake.SCOPE_NARROWED, pst.ActionIn((_action("write"),)))
            case pst.ActionEq(entity=entity):
                yield become(Mistake.SCOPE_WIDENED, pst.ScopeAny())
                for other in self._tools:
                    yield become(Mistake.SCOPE_SWAPPED, pst.ActionEq(replace(entity, id=other)))
            case pst.ActionIn(entities=(entity,)):
                yield become(Mistake.SCOPE_WIDENED, pst.ScopeAny())
                if entity.id not in ("read", "write"):
                    yield become(Mistake.SCOPE_WIDENED, pst.ActionIn((_action("write"),)))
                for name in _narrower(entity.id):
                    yield become(Mistake.SCOPE_NARROWED, pst.ActionIn((_action(name),)))
                for name in _others(entity.id):
                    yield become(Mistake.SCOPE_SWAPPED, pst.ActionIn((_action(name),)))
            case pst.ActionIn(entities=entities):
                for place in range(len(entities)):
                    fewer = entities[:place] + entities[place + 1 :]
                    yield become(Mistake.SCOPE_NARROWED, pst.ActionIn(fewer))

    # --- expressions -------------------------------------------------------------------------------------------------

    def _everywhere(self, node: pst.Expr) -> Iterator[_Edit]:
        """Every mistake in a node or below it; `node` of each is the whole, and a comparison is shown as a whole."""
        yield from self._here(node)
        for name, child in _children(node):
            for edit in self._everywhere(child):
                whole: pst.Expr = replace(node, **{name: edit.node})  # type: ignore[arg-type]  # a field of this node
                is_comparison = isinstance(node, pst.BinaryOp) and node.op in _COMPARISONS
                yield _become(edit.mistake, node, whole) if is_comparison else replace(edit, node=whole)

    def _here(self, node: pst.Expr) -> Iterator[_Edit]:
        match node:
            case pst.BinaryOp(op="and" | "or" as op, left=left, right=right):
                dropped = Mistake.CONJUNCT_DROPPED if op == "and" else Mistake.DISJUNCT_DROPPED
                yield _Edit(dropped, f"{_shown(right)} is forgotten", left)
                yield _Edit(dropped, f"{_shown(left)} is forgotten", right)
                yield _become(Mistake.JUNCTION_SWAPPED, node, replace(node, op="or" if op == "and" else "and"))
            case pst.BinaryOp(op=op) if op in _COMPARISONS:
                yield from _compared(node, op)
            case pst.BinaryOp(op="add" | "sub" | "mul" as op, left=left, right=right):
                yield _Edit(Mistake.TERM_DROPPED, f"{_shown(right)} is forgotten in {_shown(node)}", left)
                if op == "mul":
                    return
                yield _become(Mistake.SIGN_SWAPPED, node, replace(node, op="sub" if op == "add" else "add"))
            case pst.UnaryOp(op="not", arg=inner):
                yield _become(Mistake.CONDITION_NEGATED, node, inner)
            case pst.BinaryOp(op="in", left=left, right=pst.EntityLit(value=uid)):
                yield _become(Mistake.CONDITION_NEGATED, node, pst.UnaryOp("not", node))
                for other in _others(uid.id):
                    swapped = pst.BinaryOp("in", left, pst.EntityLit(replace(uid, id=other)))
                    yield _become(Mistake.ROLE_SWAPPED, node, swapped)
            case pst.LongLit(value=value):
                yield from _miscounted(node, value)
            case pst.GetAttr(base=base, attr=name):
                for other in self._like(base, name):
                    yield _become(Mistake.FIELD_SWAPPED, node, pst.GetAttr(base, other))
            case _:
                return

    def _like(self, base: pst.Expr, name: str) -> Iterator[str]:
        """Other members of the same record that the bundle names. Of the counts by role, the next is enough."""
        if name in APPROVER_ROLES:
            yield _next(name, APPROVER_ROLES)
            yield "persons"
        elif name == "persons":
            yield "security"
        else:
            yield from (other for other in sorted(self._siblings.get(base, ())) if other != name)


def _children(node: pst.Expr) -> Iterator[tuple[str, pst.Expr]]:
    match node:
        case pst.BinaryOp(left=left, right=right):
            yield "left", left
            yield "right", right
        case pst.UnaryOp(arg=inner):
            yield "arg", inner
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            yield "cond", cond
            yield "then_expr", then
            yield "else_expr", other
        case _:
            return


def _compared(node: pst.BinaryOp, op: str) -> Iterator[_Edit]:
    for other in _COMPARISONS:
        is_beside = (op, other) in _BESIDE or (other, op) in _BESIDE
        mistake = Mistake.COMPARISON_MOVED if is_beside else Mistake.COMPARISON_FLIPPED
        yield _become(mistake, node, replace(node, op=other))


def _miscounted(node: pst.LongLit, value: int) -> Iterator[_Edit]:
    moved, slipped = (value - 1, value + 1), (value * 10, value // 10)
    for mistake, others in ((Mistake.CONSTANT_MOVED, moved), (Mistake.DIGIT_SLIPPED, slipped)):
        for other in others:
            if LONG_MIN <= other <= LONG_MAX:
                yield _become(mistake, node, pst.LongLit(other))


def _become(mistake: Mistake, node: pst.Expr, other: pst.Expr) -> _Edit:
    return _Edit(mistake, f"{_shown(node)} becomes {_shown(other)}", other)


def _others(name: str) -> tuple[str, ...]:
    """Names of the same kind, of roles and of groups of actions, one of which may stand there by mistake."""
    if name in ROLES:
        return (_next(name, ROLES),)
    if name.endswith(_OF_ROLE):
        return (_next(name.removesuffix(_OF_ROLE), APPROVER_ROLES) + _OF_ROLE,)
    return _OPPOSITE.get(name, ())


def _narrower(group: str) -> tuple[str, ...]:
    return _NARROWER.get(group, () if group in _OPPOSITE else ("irreversible", "reversible"))


def _next(role: str, roles: tuple[str, ...]) -> str:
    return roles[(roles.index(role) + 1) % len(roles)]


def _action(name: str) -> pst.EntityUid:
    return pst.EntityUid(pst.EntityType("Action"), name)


def _head(template: pst.Template) -> str:
    bare = replace(template, clauses=(), annotations={})
    return f"`{cedar_text.policy(bare).removeprefix(template.effect).strip(' ;' + chr(10))}`"


def _shown(node: pst.Expr) -> str:
    return f"`{cedar_text.expression(node)}`"
