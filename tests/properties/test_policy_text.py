"""Policies written from their nodes are the policies that were read."""

from __future__ import annotations

import random
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from policies import cedar_syntax, cedar_text
from policies.cedar_syntax import nodes as pst
from tests.attacks.bundle_edits import INVARIANTS, POLICIES
from tests.properties.general_cedar import World

# What random policies seldom meet: every infix operator beside every other, in both groupings.
INFIX = ("||", "&&", "==", "<", "in", "+", "-", "*")
GROUPINGS = [
    text
    for first in INFIX
    for second in INFIX
    for text in (f"(principal {first} action) {second} resource", f"principal {first} (action {second} resource)")
]
SINGULAR = [
    "!(principal == action)",
    "!!context.a",
    "-(context.a)",
    "-(5)",
    "-5 - -5",
    "(-5).contains(-9223372036854775808)",
    "(if true then 1 else 2) + 1",
    'context.a like "a\\*b*\\"\\u{0}"',
    'context["if"]["a b"].in_',
    'context has a && context has "a b"',
    'principal is U in [U::"a", U::"b\\""]',
    "(principal is U) == true",
    '{"a": 1, "b c": {}}["b c"]',
    "([1] == [2]).contains(true)",
]


def unchained(node: Any) -> Any:
    """Nodes with every chained `has` as the conjunction that the parser makes of it."""
    if isinstance(node, tuple):
        return tuple(unchained(each) for each in node)
    if isinstance(node, pst.FrozenMap):
        return pst.FrozenMap({name: unchained(each) for name, each in node.items()})
    if not is_dataclass(node) or isinstance(node, type):
        return node
    whole = replace(node, **{each.name: unchained(getattr(node, each.name)) for each in fields(node)})
    match whole:
        case pst.HasAttr(base=base, attrs=(first, *rest)) if rest:
            inner = unchained(pst.HasAttr(pst.GetAttr(base, first), tuple(rest)))
            return pst.BinaryOp("and", pst.HasAttr(base, (first,)), inner)
        case _:
            return whole


def again(template: pst.Template) -> pst.Template:
    (read,) = cedar_syntax.parse(cedar_text.policy(template))
    return replace(read, id=template.id)


@pytest.mark.parametrize("text", [POLICIES, INVARIANTS], ids=["policies", "invariants"])
def test_base_bundle_reads_as_it_was_written(text: str) -> None:
    """
    Every rule and invariant of the base bundle, written from its nodes, parses to the same nodes.
    """
    for template in cedar_syntax.parse(text):
        assert again(template) == template


@pytest.mark.parametrize("text", [*GROUPINGS, *SINGULAR])
def test_brackets_stand_where_they_are_needed(text: str) -> None:
    """
    Operators beside one another keep their grouping, odd names their quotes, negative numbers their sign.
    """
    try:
        node = cedar_syntax.parse_expression(text)
    except cedar_syntax.SyntaxRefused:
        pytest.fail("the text of the test does not parse")

    assert cedar_syntax.parse_expression(cedar_text.expression(node)) == node


def test_random_policies_read_as_they_were_written() -> None:
    """
    600 random policies with every form of Cedar, odd names and texts.
    """
    compared = 0
    for seed in range(200):
        policies = cedar_syntax.parse_set(World(random.Random(seed)).policies())
        for template in policies.static_policies.values():
            try:
                read = again(template)
            except cedar_syntax.SyntaxRefused:
                # Nodes may hold what no text says, such as the expression that stands for a call that always errs.
                continue
            assert unchained(read) == unchained(template)
            compared += 1

    assert compared > 500
