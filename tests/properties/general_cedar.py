"""General Cedar: random schemas with policies, entities and requests that fit them, near every edge.

Policies are mostly well typed and sometimes not; attributes may be absent, entities may be missing, hierarchies are
deep, names and texts are of the kind that a careless encoder would mix up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

NAMES = ("a", "b", "s0", "f1", "a b", "x\0", "x", '"', "é", "in_re", "\U0010fffe")
TEXTS = ("", "a", "ab", "a*b", 'q"\\', "\0", "x\0", "\\u{61}", "é", "\U00030000", "\U0010fffe", "10.0.0.1")
IDS = ("", "a", "b", "s0", "a\0", "\U00030000")
KEYS = ("k", "j", "")
LONGS = (0, 1, 2, -1, 50, 2**62, 2**63 - 1, -(2**63))
DECIMALS = ("0.0", "1.5", "-1.5", "922337203685477.5807", "-922337203685477.5808", "1.50000", "x")
ADDRESSES = (
    "10.0.0.1",
    "10.0.0.1/8",
    "10.1.0.0/16",
    "127.0.0.1",
    "224.0.0.1/3",
    "::1",
    "ff00::1",
    "::/0",
    "1.2",
    "0.0.0.0/0",
)
DATETIMES = (
    "1970-01-01",
    "1969-12-31T23:59:59.999Z",
    "2024-02-29T12:00:00+0130",
    "0000-01-01",
    "9999-12-31",
    "2023-02-29",
)
DURATIONS = ("0ms", "1d", "-1ms", "1d2h3m4s5ms", "9223372036854775807ms", "-9223372036854775808ms", "ms")
LITERALS = {"decimal": DECIMALS, "ip": ADDRESSES, "datetime": DATETIMES, "duration": DURATIONS}
CONSTRUCTOR = {"decimal": "decimal", "ipaddr": "ip", "datetime": "datetime", "duration": "duration"}
PATTERNS = ("*", "a*", "*b", "a\\*b", "*\\0*", "", "a*b*", "\\u{30000}*", "*\\u{10fffe}")
KINDS = ("U", "G", "R", "Colour")
COLOURS = ("red", "green")

# A type: its name alone, ("Entity", kind), ("Set", element), ("Record", ((name, type, is_required), …)).
Type = Any


def quoted(text: str) -> str:
    """A Cedar string literal."""
    plain = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(plain.get(c, c if " " <= c <= "~" else f"\\u{{{ord(c):x}}}") for c in text) + '"'


@dataclass
class World:
    """A schema, a store that fits it, requests, and policies about both."""

    random: Random
    attributes: dict[str, Type] = field(default_factory=dict)
    tags: dict[str, Type] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    context: Type = None
    ids: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pick = self.random
        for kind in KINDS[:3]:
            self.attributes[kind] = self._record_type(2)
            self.parents[kind] = tuple(sorted({pick.choice(KINDS[:3]) for _ in range(pick.randrange(3))}))
            if pick.random() < 0.6:
                self.tags[kind] = self._type(1)
            self.ids[kind] = tuple(pick.sample(IDS, 3))
        self.ids["Colour"] = COLOURS
        self.context = self._record_type(2)

    # --- schema ------------------------------------------------------------------------------------------------------

    def _type(self, depth: int) -> Type:
        scalars = ["Long", "Bool", "String", "decimal", "ipaddr", "datetime", "duration"]
        choice = self.random.random()
        if depth and choice < 0.2:
            return ("Set", self._type(depth - 1 if self.random.random() < 0.8 else 0))
        if depth and choice < 0.35:
            return self._record_type(depth - 1)
        if choice < 0.6:
            return ("Entity", self.random.choice(KINDS))
        return self.random.choice(scalars)

    def _record_type(self, depth: int) -> Type:
        names = self.random.sample(NAMES, self.random.randrange(1, 5))
        return ("Record", tuple((name, self._type(depth), self.random.random() < 0.75) for name in names))

    def _written(self, kind: Type) -> str:
        match kind:
            case ("Entity", name):
                return str(name)
            case ("Set", element):
                return f"Set<{self._written(element)}>"
            case ("Record", members):
                inside = (f"{quoted(n)}{'' if required else '?'}: {self._written(t)}" for n, t, required in members)
                return "{" + ", ".join(inside) + "}"
            case _:
                return str(kind)

    def schema(self) -> str:
        """As text."""
        lines = ['entity Colour enum ["red", "green"];']
        for kind in KINDS[:3]:
            parents = f" in [{', '.join(self.parents[kind])}]" if self.parents[kind] else ""
            tags = f" tags {self._written(self.tags[kind])}" if kind in self.tags else ""
            lines.append(f"entity {kind}{parents} = {self._written(self.attributes[kind])}{tags};")
        applies = f"appliesTo {{ principal: [U, G], resource: [R, Colour], context: {self._written(self.context)} }}"
        lines += [
            'action "all";',
            'action "some" in ["all"];',
            f'action "view" in ["some"] {applies};',
            f"action edit {applies};",
        ]
        return "\n".join(lines)

    # --- data --------------------------------------------------------------------------------------------------------

    def entities(self) -> list[dict[str, Any]]:
        """Some of the entities that could be: the others are missing. Parents come later in one order: no cycles."""
        order = [(kind, identifier) for kind in KINDS[:3] for identifier in self.ids[kind]]
        self.random.shuffle(order)
        found = []
        for place, (kind, identifier) in enumerate(order):
            if self.random.random() < 0.06:
                continue
            above = [each for each in order[place + 1 :] if each[0] in self.parents[kind]]
            parents = self.random.sample(above, min(len(above), self.random.randrange(3)))
            document: dict[str, Any] = {
                "uid": {"type": kind, "id": identifier},
                "attrs": self._value(self.attributes[kind]),
                "parents": [{"type": one, "id": two} for one, two in parents],
            }
            if kind in self.tags:
                keys = self.random.sample(KEYS, self.random.randrange(3))
                document["tags"] = {key: self._value(self.tags[kind]) for key in keys}
            found.append(document)
        return found

    def request(self) -> dict[str, Any]:
        """One request that fits."""
        return {
            "principal": self._uid(self.random.choice(("U", "G"))),
            "action": {"type": "Action", "id": self.random.choice(("view", "edit"))},
            "resource": self._uid(self.random.choice(("R", "Colour"))),
            "context": self._value(self.context),
        }

    def _uid(self, kind: str) -> dict[str, str]:
        return {"type": kind, "id": self.random.choice(self.ids[kind])}

    def _value(self, kind: Type) -> Any:
        pick = self.random
        match kind:
            case "Long":
                return pick.choice(LONGS)
            case "Bool":
                return pick.random() < 0.5
            case "String":
                return pick.choice(TEXTS)
            case ("Entity", name):
                return {"__entity": self._uid(name)}
            case ("Set", element):
                return [self._value(element) for _ in range(pick.randrange(4))]
            case ("Record", members):
                return {n: self._value(t) for n, t, required in members if required or pick.random() < 0.5}
            case _:
                name = CONSTRUCTOR[kind]
                return {"__extn": {"fn": name, "arg": pick.choice(LITERALS[name][:5])}}

    # --- policies ----------------------------------------------------------------------------------------------------

    def policies(self, count: int = 3, depth: int = 3) -> str:
        """Some policies."""
        return "\n".join(self._policy(depth) for _ in range(count))

    def _policy(self, depth: int) -> str:
        pick = self.random
        effect = pick.choice(("permit", "forbid"))
        scopes = []
        for variable, kinds in (("principal", ("U", "G")), ("resource", ("R", "Colour"))):
            kind = pick.choice(kinds)
            uid = self._literal(("Entity", pick.choice(KINDS)))
            forms = (*[variable] * 8, f"{variable} is {kind}", f"{variable} in {uid}", f"{variable} == {uid}")
            scopes.append(pick.choice((*forms, f"{variable} is {kind} in {uid}")))
        action = pick.choice((*["action"] * 4, 'action == Action::"view"', 'action in [Action::"all"]'))
        clauses = " ".join(
            f"{pick.choice(('when', 'when', 'unless'))} {{ {self.expression('Bool', depth)} }}"
            for _ in range(pick.choice((1, 1, 1, 2)))
        )
        return f"{effect} ({scopes[0]}, {action}, {scopes[1]}) {clauses};"

    def expression(self, kind: Type, depth: int) -> str:
        """An expression, mostly of that type."""
        if self.random.random() < 0.01:
            kind = self._type(1)
        if depth <= 0:
            return self._leaf(kind)
        choice = self.random.random()
        if choice < 0.1:
            then, other = self.expression(kind, depth - 1), self.expression(kind, depth - 1)
            return f"(if {self.expression('Bool', depth - 1)} then {then} else {other})"
        if choice < 0.3:
            return self._leaf(kind)
        return self._operation(kind, depth - 1)

    def _leaf(self, kind: Type) -> str:
        paths = self._paths(kind)
        return self.random.choice(paths) if paths and self.random.random() < 0.7 else self._literal(kind)

    def _paths(self, kind: Type) -> list[str]:
        """Every member of that type within reach."""
        found = []
        roots = [("context", self.context)]
        for variable, kinds in (("principal", ("U", "G")), ("resource", ("R",))):
            roots += [(variable, self.attributes[each]) for each in kinds]
            found += [variable] if kind in [("Entity", each) for each in kinds] else []
            found += [f"{variable}.getTag({quoted(k)})" for k in KEYS for e in kinds if self.tags.get(e) == kind]
        while roots:
            path, (_, members) = roots.pop()
            for name, inner, _required in members:
                here = f"{path}[{quoted(name)}]"
                if inner == kind:
                    found.append(here)
                if inner[0] == "Record":
                    roots.append((here, inner))
                elif inner[0] == "Entity" and inner[1] in self.attributes and path.count("[") < 2:
                    roots.append((here, self.attributes[inner[1]]))
        return sorted(found)

    def _literal(self, kind: Type) -> str:
        pick = self.random
        match kind:
            case "Long":
                return f"({pick.choice(LONGS)})"
            case "Bool":
                return pick.choice(("true", "false"))
            case "String":
                return quoted(pick.choice(TEXTS))
            case ("Entity", name):
                return f"{name}::{quoted(pick.choice(self.ids[name]))}"
            case ("Set", element):
                return f"[{', '.join(self.expression(element, 0) for _ in range(pick.randrange(4)))}]"
            case ("Record", members):
                shown = [each for each in members if each[2] or pick.random() < 0.5]
                return "{" + ", ".join(f"{quoted(n)}: {self.expression(t, 0)}" for n, t, _ in shown) + "}"
            case _:
                name = CONSTRUCTOR[kind]
                return f"{name}({quoted(pick.choice(LITERALS[name]))})"

    def _operation(self, kind: Type, depth: int) -> str:
        pick = self.random
        match kind:
            case "Bool":
                return self._condition(depth)
            case "Long":
                unit = pick.choice(("Milliseconds", "Seconds", "Minutes", "Hours", "Days"))
                one, two = self.expression("Long", depth), self.expression("Long", depth)
                return pick.choice(
                    (
                        f"({one} {pick.choice('+-*')} {two})",
                        f"(-{one})",
                        f"{self.expression('duration', depth)}.to{unit}()",
                    )
                )
            case "datetime":
                start = self.expression("datetime", depth)
                return pick.choice((f"{start}.offset({self.expression('duration', depth)})", f"{start}.toDate()"))
            case "duration":
                start = self.expression("datetime", depth)
                return pick.choice(
                    (f"{start}.durationSince({self.expression('datetime', depth)})", f"{start}.toTime()")
                )
            case ("Set", element):
                return f"[{', '.join(self.expression(element, depth) for _ in range(pick.randrange(1, 4)))}]"
            case _:
                return self._leaf(kind)

    def _condition(self, depth: int) -> str:
        pick = self.random
        forms = (self._logic, self._order, self._sets, self._entities, self._presence, self._texts, self._addresses)
        return pick.choice((*forms, self._equality))(depth)

    def _logic(self, depth: int) -> str:
        one, two = self.expression("Bool", depth), self.expression("Bool", depth)
        return self.random.choice((f"({one} && {two})", f"({one} || {two})", f"(!{one})"))

    def _equality(self, depth: int) -> str:
        kind = self._type(2)
        one, two = self.expression(kind, depth), self.expression(kind, depth)
        return f"({one} {self.random.choice(('==', '!='))} {two})"

    def _order(self, depth: int) -> str:
        kind = self.random.choice(("Long", "datetime", "duration", "decimal"))
        one, two = self.expression(kind, depth), self.expression(kind, depth)
        if kind == "decimal":
            method = self.random.choice(("lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"))
            return f"{one}.{method}({two})"
        return f"({one} {self.random.choice(('<', '<=', '>', '>='))} {two})"

    def _sets(self, depth: int) -> str:
        element = self._type(1)
        known = [each for each in ("Long", "String", ("Entity", "U"), ("Entity", "R")) if self._paths(("Set", each))]
        if known and self.random.random() < 0.6:
            element = self.random.choice(known)
        one, two = self.expression(("Set", element), depth), self.expression(("Set", element), depth)
        method = self.random.choice(("contains", "containsAll", "containsAny", "isEmpty"))
        given = {"contains": self.expression(element, depth), "isEmpty": ""}.get(method, two)
        return f"{one}.{method}({given})"

    def _entities(self, depth: int) -> str:
        pick = self.random
        entity = self.expression(("Entity", pick.choice(KINDS[:3])), depth)
        kind = ("Entity", pick.choice(KINDS))
        target = pick.choice((self.expression(kind, depth), self.expression(("Set", kind), depth)))
        return pick.choice(
            (f"({entity} in {target})", f"({entity} is {pick.choice(KINDS)})", f"({entity} is G in {target})")
        )

    def _presence(self, depth: int) -> str:
        pick = self.random
        base = pick.choice(
            ("principal", "resource", "context", self.expression(("Entity", pick.choice(KINDS[:3])), depth))
        )
        key = self.expression("String", 0) if pick.random() < 0.3 else quoted(pick.choice(KEYS))
        forms = (f"({base} has {quoted(pick.choice(NAMES))})", f"({base} has a.b)", f"{base}.hasTag({key})")
        return pick.choice(forms)

    def _texts(self, depth: int) -> str:
        return f'({self.expression("String", depth)} like "{self.random.choice(PATTERNS)}")'

    def _addresses(self, depth: int) -> str:
        one = self.expression("ipaddr", depth)
        method = self.random.choice(("isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange"))
        return f"{one}.{method}({self.expression('ipaddr', depth) if method == 'isInRange' else ''})"


def world(random: Random) -> tuple[str, str, list[dict[str, Any]], dict[str, Any]]:
    """Schema, policies, entities, one request."""
    made = World(random)
    return made.schema(), made.policies(), made.entities(), made.request()


def shown(given: tuple[str, str, list[dict[str, Any]], dict[str, Any]]) -> str:
    """For a failing test."""
    schema, policies, entities, request = given
    return "\n".join((schema, policies, json.dumps(entities), json.dumps(request)))
