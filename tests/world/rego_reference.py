"""A decider to compare Rego engines with: the same rules in Python, and rules and data at random to try them on.

`RULES` has a condition for each built-in and each form that a module may use, beside what it says in Python. A member
that is not there makes a condition undefined, which denies nothing; in Python it is a `KeyError`.
"""

from __future__ import annotations

import random
import string
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from policies import bundles
from policies.rego_answers import RegoAnswer, RegoRules, read

Document = Mapping[str, Any]
Condition = Callable[[Any, Any], bool]


class Reference:
    """A Rego engine that knows two modules by heart: that of the base bundle, and `MODULE`."""

    def __init__(self) -> None:
        self._bundles: dict[str, RegoRules] = {}

    @property
    def loaded(self) -> frozenset[str]:
        return frozenset(self._bundles)

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to end."""

    async def reach(self) -> None:
        """It is always there."""

    async def load(self, name: str, rules: RegoRules) -> None:
        """Keep the rules."""
        self._bundles[name] = rules

    async def drop(self, name: str) -> None:
        """Forget them."""
        self._bundles.pop(name, None)

    def ask(self, name: str, projection: bytes) -> Awaitable[RegoAnswer]:
        """Decide by Python."""
        return self.decide(name, projection)

    async def decide(self, name: str, projection: bytes) -> RegoAnswer:
        """The same, for whoever waits."""
        rules, asked = self._bundles[name], orjson.loads(projection)
        deny, obligations = KNOWN[rules.module](asked, rules.data)
        return read({"deny": sorted(deny), "obligations": sorted(obligations)}, rules)


def base_rules(asked: Document, data: Document) -> tuple[set[str], set[str]]:
    """What the base bundle's Rego says."""
    risk, now, deny = asked["risk"], asked["now"], set()
    for window in data["freezes"]:
        is_named = "*" in window["tools"] or asked["action"] in window["tools"]
        if risk > 0 and window["begins"] <= now < window["ends"] and is_named:
            deny.add("change-freeze")
    if asked["principal"]["id"] in data["denied"]["principals"]:
        deny.add("denied-principal")
    if risk > 0 and asked["resource"] in data["denied"]["resources"]:
        deny.add("denied-resource")
    return deny, {"notify-officers"} if risk >= 3 else set()


RULES: Mapping[str, tuple[str, Condition]] = {
    "abs": ("abs(input.arguments.n) > data.limit", lambda i, d: abs(i["arguments"]["n"]) > d["limit"]),
    "array-concat": (
        "count(array.concat(input.roles, data.names)) > data.limit",
        lambda i, d: len(i["roles"] + d["names"]) > d["limit"],
    ),
    "concat": ('concat("/", input.roles) == data.joined', lambda i, d: "/".join(i["roles"]) == d["joined"]),
    "contains": ("contains(input.arguments.s, data.part)", lambda i, d: d["part"] in i["arguments"]["s"]),
    "count": ("count(input.roles) == data.few", lambda i, d: len(i["roles"]) == d["few"]),
    "endswith": ("endswith(input.arguments.s, data.part)", lambda i, d: i["arguments"]["s"].endswith(d["part"])),
    "startswith": ("startswith(input.arguments.s, data.part)", lambda i, d: i["arguments"]["s"].startswith(d["part"])),
    "intersection": (
        "count(intersection({{role | some role in input.roles}, {name | some name in data.names}})) > 0",
        lambda i, d: bool({*i["roles"]} & {*d["names"]}),
    ),
    "union": (
        "count(union({{role | some role in input.roles}, {name | some name in data.names}})) > data.few",
        lambda i, d: len({*i["roles"]} | {*d["names"]}) > d["few"],
    ),
    "is-array": ("is_array(data.any)", lambda i, d: isinstance(d["any"], list)),
    "is-boolean": ("is_boolean(data.any)", lambda i, d: isinstance(d["any"], bool)),
    "is-number": ("is_number(data.any)", lambda i, d: type(d["any"]) is int),
    "is-object": ("is_object(data.any)", lambda i, d: isinstance(d["any"], dict)),
    "is-string": ("is_string(data.any)", lambda i, d: isinstance(d["any"], str)),
    "sum": ("sum(data.numbers) > input.arguments.n", lambda i, d: sum(d["numbers"]) > i["arguments"]["n"]),
    "object-get": (
        "object.get(data.table, input.arguments.s, 3) == data.few",
        lambda i, d: d["table"].get(i["arguments"]["s"], 3) == d["few"],
    ),
    "plus-minus": (
        "input.arguments.n - data.limit + data.few > input.now",
        lambda i, d: i["arguments"]["n"] - d["limit"] + d["few"] > i["now"],
    ),
    "times": (
        "input.arguments.n * data.few >= data.limit * 2",
        lambda i, d: i["arguments"]["n"] * d["few"] >= d["limit"] * 2,
    ),
    "equal": ("input.arguments.s == data.part", lambda i, d: i["arguments"]["s"] == d["part"]),
    "not-equal": ("input.arguments.s != data.part", lambda i, d: i["arguments"]["s"] != d["part"]),
    "before": ("input.arguments.s < data.part", lambda i, d: i["arguments"]["s"] < d["part"]),
    "flag": ("input.arguments.flag", lambda i, d: i["arguments"]["flag"]),
    "not-flag": ("not input.arguments.flag", lambda i, d: not i["arguments"].get("flag", False)),
    "missing": ("not input.arguments.n", lambda i, d: "n" not in i["arguments"]),
    "some": ("some name in data.names\n\tname == input.arguments.s", lambda i, d: i["arguments"]["s"] in d["names"]),
    "some-key": (
        "some name, value in data.table\n\tname == input.arguments.s\n\tvalue > data.few",
        lambda i, d: d["table"][i["arguments"]["s"]] > d["few"],
    ),
    "in": ("input.arguments.s in data.names", lambda i, d: i["arguments"]["s"] in d["names"]),
    "not-in": ("not is_named", lambda i, d: i["arguments"].get("s") not in d["names"]),
    "index": ("data.table[input.arguments.s] == data.few", lambda i, d: d["table"][i["arguments"]["s"]] == d["few"]),
    "every": ("every role in input.roles { role in data.names }", lambda i, d: {*i["roles"]} <= {*d["names"]}),
    "function": ("far(input.arguments.n, data.limit)", lambda i, d: i["arguments"]["n"] > d["limit"] * 3),
    "else": ("size == data.few", lambda i, d: _size(i) == d["few"]),
    "comprehension": (
        "count([number | some number in data.numbers; number > input.arguments.n]) >= data.few",
        lambda i, d: len([each for each in d["numbers"] if each > i["arguments"].get("n", each)]) >= d["few"],
    ),
}
"""By id: what holds in Rego, and in Python."""

_HELPERS = """
is_named if input.arguments.s in data.names

far(value, limit) if value > limit * 3

default size := 0

size := 1 if {
	input.arguments.n > 0
	input.arguments.flag
} else := 2 if input.arguments.n > 0
"""
MODULE = "".join(
    [
        'package lockgate\n\nimport rego.v1\n\ndecision := {"deny": deny, "obligations": []}\n',
        *(f'\ndeny contains "{name}" if {{\n\t{condition}\n}}\n' for name, (condition, _) in RULES.items()),
        _HELPERS,
    ]
)


def built_in_rules(asked: Document, data: Document) -> tuple[set[str], set[str]]:
    """What `MODULE` says."""
    return {name for name, (_, condition) in RULES.items() if _holds(condition, asked, data)}, set()


KNOWN: Mapping[str, Callable[[Document, Document], tuple[set[str], set[str]]]] = {
    bundles.base()["rego"]: base_rules,
    MODULE: built_in_rules,
}


def rules_of(data: Document) -> RegoRules:
    """`MODULE` over some data."""
    return RegoRules(module=MODULE, data=data, deny=dict.fromkeys(RULES, "A hint."), obligations={})


def random_data(draw: random.Random) -> dict[str, Any]:
    """Data for `MODULE`."""
    names = draw.sample(_WORDS, draw.randint(0, 4))
    return {
        "limit": draw.choice([0, 1, 7, 1000, 2**40]),
        "few": draw.randint(0, 3),
        "names": names,
        "joined": draw.choice(_WORDS),
        "part": draw.choice([*_WORDS, "a", ""]),
        "numbers": [draw.randint(-9, 9) for _ in range(draw.randint(0, 4))],
        "table": {name: draw.randint(0, 3) for name in names},
        "any": draw.choice([1, True, False, "x", [], {}, [1], {"a": 1}, -1, 0, ""]),
    }


def random_projection(draw: random.Random) -> bytes:
    """A projection for `MODULE`; now and then without one of the arguments."""
    word = "".join(draw.choices(string.ascii_letters + "_.:@/*+-" + string.digits, k=draw.randint(0, 6)))
    arguments = {
        "n": draw.choice([0, 1, -1, 5, 21, 3001, -(2**53) + 1, 2**53 - 1, draw.randint(-10, 10)]),
        "s": draw.choice([*_WORDS, word]),
        "flag": draw.random() < 0.5,
    }
    if draw.random() < 0.2:
        del arguments[draw.choice(sorted(arguments))]
    asked = {
        "arguments": arguments,
        "now": draw.randint(0, 2**33),
        "roles": sorted(draw.sample(_WORDS, draw.randint(0, 3))),
    }
    return orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)


def random_base_data(draw: random.Random) -> dict[str, Any]:
    """Other windows and lists for the base bundle's module."""
    tools = ["*", "issue_refund", "ban_user", "get_order", "toggle_feature_flag"]
    begins = [draw.randint(1577750000, 1577752000) for _ in range(draw.randint(0, 3))]
    return {
        **bundles.base()["data"],
        "freezes": [
            {"name": "f", "begins": at, "ends": at + draw.choice([0, 1, 172_800]), "tools": draw.sample(tools, 2)}
            for at in begins
        ],
        "denied": {
            "principals": draw.sample(["retired", "a", "p", "b"], draw.randint(0, 2)),
            "resources": [
                {"type": draw.choice(["User", "Order"]), "id": draw.choice(["usr_1", "usr_platform", "x"])}
                for _ in range(draw.randint(0, 2))
            ],
        },
    }


_WORDS = ["safety", "finance", "a", "usr_1", "x-y", "Zoe", "9", "alpha/beta"]


def _holds(condition: Condition, asked: Document, data: Document) -> bool:
    try:
        return bool(condition(asked, data))
    except KeyError:
        return False


def _size(asked: Any) -> int:
    arguments = asked["arguments"]
    if arguments.get("n", 0) <= 0:
        return 0
    return 1 if arguments.get("flag", False) else 2
