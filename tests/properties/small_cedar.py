"""Small Cedar: random policies and questions over one action, mostly well typed, sometimes not, near every edge."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

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

GREATEST = 2**53 - 1
ROLES = ("finance", "sre")
TEXTS = ("a", "b", 'q"\\\n', "ü", "Agent")


def _long(minimum: int = -GREATEST, maximum: int = GREATEST) -> LongType:
    return LongType(minimum=minimum, maximum=maximum)


CONTEXT = RecordType(
    (
        Attribute(
            name="arguments",
            type=RecordType(
                (
                    Attribute(name="amount", type=_long()),
                    Attribute(name="extra", type=_long(), is_required=False),
                    Attribute(name="note", type=StringType()),
                    Attribute(name="mode", type=StringType(choices=("a", "b")), is_required=False),
                    Attribute(name="flag", type=BoolType()),
                )
            ),
        ),
        Attribute(
            name="facts",
            type=RecordType(
                (
                    Attribute(
                        name="order",
                        type=RecordType(
                            (
                                Attribute(name="paid", type=_long(0)),
                                Attribute(name="seen", type=BoolType(), is_required=False),
                            )
                        ),
                    ),
                )
            ),
        ),
        Attribute(name="approvals", type=APPROVALS),
        Attribute(name="risk", type=_long(0, 3)),
        Attribute(name="autonomy", type=_long(0, 4)),
        Attribute(name="registered", type=BoolType()),
        Attribute(name="reason_code", type=StringType(choices=("a", "b"))),
        Attribute(name="environment", type=StringType()),
        Attribute(name="tenant", type=StringType()),
        Attribute(name="now", type=_long(0)),
    )
)
ACTION = ActionType(
    name="refund",
    groups=("irreversible", "write"),
    resource_type="Order",
    context=CONTEXT,
    risk="if context.arguments.amount > 50 then 2 else 1",
)
TYPED = TypedSchema(actions={"refund": ACTION}, entity_types=("Agent", "Order", "Person", "Role", "Tenant"))
SCHEMA = CedarSchema(text="", typed=TYPED, digest="")

_LONGS = (
    "context.arguments.amount",
    "context.arguments.extra",
    "context.facts.order.paid",
    "context.approvals.persons",
    "context.approvals.finance",
    "context.risk",
)
_STRINGS = ("context.arguments.note", "context.arguments.mode", "context.reason_code", "context.tenant")
_BOOLS = (
    "context.arguments.flag",
    "context.facts.order.seen",
    "context.registered",
    "context.arguments has extra",
    "context.arguments has mode",
    "context has facts.order.seen",
    "context.facts has nothing",
    "principal has anything",
    "true",
    "false",
)
_ENTITIES = ("principal", "resource", "action", 'Person::"a"', 'Agent::"a"', 'Order::"b"', 'Role::"finance"')
_ACTIONS = ('Action::"refund"', 'Action::"write"', 'Action::"read"')
_ERRORS = ("context.missing", "principal.name", "context.arguments.amount.deep", "context.facts.nothing.more")
_LITERALS = (0, 1, 2, 50, -1, 10_000, GREATEST, 2**62, 2**63 - 1, -(2**63))


def quoted(text: str) -> str:
    """A Cedar string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def expressions(depth: int = 3) -> st.SearchStrategy[str]:
    """Conditions."""
    return _bool(depth)


def policy_sets() -> st.SearchStrategy[str]:
    """Up to four policies, `rule-0` and so on."""
    return st.lists(_policies(), min_size=1, max_size=4).map(
        lambda some: "\n".join(text.replace("@id()", f'@id("rule-{number}")') for number, text in enumerate(some))
    )


def _policies() -> st.SearchStrategy[str]:
    principal = st.sampled_from(
        ("principal", "principal is Agent", 'principal in Role::"finance"', 'principal == Person::"a"')
    )
    action = st.sampled_from(("action", 'action == Action::"refund"', 'action in [Action::"write", Action::"read"]'))
    resource = st.sampled_from(("resource", "resource is Order", 'resource == Order::"b"', 'resource in Order::"a"'))
    clause = st.tuples(st.sampled_from(("when", "unless")), _bool(2)).map(lambda it: f"{it[0]} {{ {it[1]} }}")
    return st.builds(
        lambda effect, one, two, three, clauses: f"@id() {effect} ({one}, {two}, {three}) {' '.join(clauses)};",
        st.sampled_from(("permit", "forbid")),
        principal,
        action,
        resource,
        st.lists(clause, max_size=2),
    )


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Any question that fits the schema; consistency of risk and approvals is not asked for."""
    is_agent = draw(st.booleans())
    edge = st.one_of(st.sampled_from((0, 1, 50, 51, GREATEST, -GREATEST)), st.integers(-GREATEST, GREATEST))
    text = st.sampled_from(TEXTS)
    arguments: dict[str, Any] = {"amount": draw(edge), "note": draw(text), "flag": draw(st.booleans())}
    if draw(st.booleans()):
        arguments["extra"] = draw(edge)
    if draw(st.booleans()):
        arguments["mode"] = draw(st.sampled_from(("a", "b")))
    order: dict[str, Any] = {"paid": draw(edge.map(abs))}
    if draw(st.booleans()):
        order["seen"] = draw(st.booleans())
    return Question(
        principal=Entity(type="Agent" if is_agent else "Person", id=draw(text)),
        roles=() if is_agent else tuple(sorted(draw(st.sets(st.sampled_from(ROLES))))),
        action="refund",
        resource=Entity(type="Order", id=draw(text)),
        context={
            "arguments": arguments,
            "facts": {"order": order},
            "approvals": {name: draw(st.integers(0, 3)) for name in ("persons", *APPROVER_ROLES)},
            "risk": draw(st.integers(0, 3)),
            "autonomy": draw(st.integers(0, 4)),
            "registered": draw(st.booleans()),
            "reason_code": draw(st.sampled_from(("a", "b"))),
            "environment": "dev",
            "tenant": draw(text),
            "now": draw(edge.map(abs)),
        },
    )


def _long_expression(depth: int) -> st.SearchStrategy[str]:
    return st.deferred(lambda: _longs(depth))


def _any(depth: int) -> st.SearchStrategy[str]:
    return st.deferred(lambda: _operands(depth))


def _bool(depth: int) -> st.SearchStrategy[str]:
    return st.deferred(lambda: _bools(depth))


@cache
def _longs(depth: int) -> st.SearchStrategy[str]:
    leaf = st.one_of(st.sampled_from(_LONGS), st.sampled_from(_LITERALS).map(lambda number: f"({number})"))
    if depth == 0:
        return leaf
    inner = _long_expression(depth - 1)
    return st.one_of(
        leaf,
        st.builds(lambda one, op, two: f"({one} {op} {two})", inner, st.sampled_from("+-*"), inner),
        inner.map(lambda one: f"(-({one}))"),
        st.builds(lambda test, one, two: f"(if {test} then {one} else {two})", _bool(depth - 1), inner, inner),
    )


@cache
def _operands(depth: int) -> st.SearchStrategy[str]:
    """An operand of any type: what a rule with a slip of the pen may hold."""
    return st.one_of(
        _long_expression(depth),
        st.sampled_from(_STRINGS),
        st.sampled_from(TEXTS).map(quoted),
        st.sampled_from(_ENTITIES + _ACTIONS),
        st.sampled_from(_ERRORS),
        st.sampled_from(_BOOLS).map(lambda text: f"({text})"),
    )


@cache
def _bools(depth: int) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(_BOOLS).map(lambda text: f"({text})")
    if depth == 0:
        return leaf
    inner, number, operand = _bool(depth - 1), _long_expression(depth - 1), _any(depth - 1)
    string = st.one_of(st.sampled_from(_STRINGS), st.sampled_from(TEXTS).map(quoted))
    comparison = st.sampled_from(("<", "<=", ">", ">=", "==", "!="))
    target = st.sampled_from(("principal", *_ENTITIES[3:], *_ACTIONS))
    return st.one_of(
        leaf,
        st.builds(lambda one, op, two: f"({one} {op} {two})", number, comparison, number),
        st.builds(lambda one, op, two: f"({one} {op} {two})", string, st.sampled_from(("==", "!=")), string),
        st.builds(lambda one, op, two: f"({one} {op} {two})", operand, comparison, operand),
        st.builds(lambda one, op, two: f"({one} {op} {two})", inner, st.sampled_from(("&&", "||")), inner),
        st.builds(lambda one, op, two: f"({one} {op} {two})", inner, st.sampled_from(("&&", "||")), operand),
        st.builds(lambda one, op, two: f"({one} {op} {two})", operand, st.sampled_from(("&&", "||")), inner),
        inner.map(lambda one: f"(!{one})"),
        st.builds(lambda test, one, two: f"(if {test} then {one} else {two})", inner, inner, inner),
        st.builds(lambda one, two: f"({one} in {two})", st.sampled_from(_ENTITIES[:3]), target),
        st.builds(
            lambda one, some: f"({one} in [{', '.join(some)}])",
            st.sampled_from(_ENTITIES[:3]),
            st.lists(target, max_size=3),
        ),
        st.builds(lambda one, kind: f"({one} is {kind})", operand, st.sampled_from(("Agent", "Person", "Order"))),
        st.builds(lambda one: f'({one} is Person in Role::"sre")', st.sampled_from(_ENTITIES[:3])),
        st.builds(lambda some, one: f"([{', '.join(some)}].contains({one}))", st.lists(operand, max_size=3), operand),
    )
