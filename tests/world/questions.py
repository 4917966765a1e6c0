"""Questions at random over the real catalogue."""

from __future__ import annotations

import random
from typing import Any

from policies.questions import ROLES, Question
from policies.schema import BoolType, LongType, RecordType, StringType, ValueType
from tests.world.bundles import ask, cedar_schema, contracts


def drawn(value: ValueType, draw: random.Random) -> Any:
    """A value of the type, near the edges more often than a fair draw would be."""
    match value:
        case RecordType(attributes=attributes):
            return {each.name: drawn(each.type, draw) for each in attributes}
        case LongType(minimum=low, maximum=high):
            near = [low, high, 0, 1, 44, 45, 1499, 1500, 5000, 5001, 50_000, 86_400, draw.randint(low, high)]
            return min(max(draw.choice(near), low), high)
        case BoolType():
            return draw.random() < 0.5
        case StringType(choices=choices):
            return draw.choice(choices) if choices else draw.choice(["x", "usr_1", "usr_platform", "retired"])


def random_question(draw: random.Random) -> Question:
    """Any question that fits the schema, about any tool, by anybody."""
    name = draw.choice(sorted(contracts()))
    roles = tuple(sorted(draw.sample(ROLES, draw.randint(0, 3))))
    who = "agent/retired" if draw.random() < 0.05 else "agent/a"
    is_agent = draw.random() < 0.5
    context = drawn(cedar_schema().typed.actions[name].context, draw)
    context["now"] = draw.choice([1577750399, 1577750400, 1577922999, 1577923000, 1767225600])
    return ask(who if is_agent else "person/p", name, () if is_agent else roles, **context)
