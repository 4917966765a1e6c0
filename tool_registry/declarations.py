"""Declarations: one YAML document becomes one contract, or a sentence that says which member is wrong.

1. read     the document has one reading (`documents`)
2. build    every member is there, of its type and within its bounds; there is no other member
3. sound    members agree with each other (`soundness`)
4. seal     the digest covers every member

What a contract says of *other* tools (undo, confirm) is checked where they are known, in `registry`. Cedar expressions
are carried; `policies` reads them.
"""

from __future__ import annotations

from unicodedata import is_normalized

from tool_registry import digests, documents, soundness, texts
from tool_registry.contracts import (
    APPROVER_ROLES,
    INTEGER_MAX,
    ROLES,
    Connector,
    Contract,
    Effect,
    FactSource,
    Family,
    Field,
    Kind,
    Label,
    Limit,
    Reference,
    ToolDigest,
    ToolName,
)
from tool_registry.documents import DeclarationError, Tree
from tool_registry.members import NAME, Members

__all__ = ["AGENTS", "DeclarationError", "parse", "parse_registered"]

AGENTS = "agents"
"""Beside the roles in `visible_to`: registered agents."""

FIELDS_MAX = 64
CHOICES_MAX = 50
FACTS_MAX = 8
LIMITS_MAX = 8
TEXT_MAX = 10_000  # Characters of one text.
ITEMS_MAX = 1_000
AGE_SECONDS_MAX = 24 * 3600  # An older fact is history.
DEADLINE_MS_MAX = 30_000
CALLS_PER_MINUTE_MAX = 1_000_000

# A path of plain segments: nothing in it can be read as a query, an escape, or a step upwards.
_PATH = r"(?:/(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*|\{[a-z][a-z0-9_]{0,62}\}))+"
_PATH_EXPECTED = "a path such as /facts/order/{order_id}"
_REASON = r"[a-z][a-z0-9_]{0,62}"
_ORIGIN = r"[a-z][a-z0-9_-]{0,62}|http://127\.0\.0\.1:[1-9][0-9]{0,4}"
_KEY = r"[a-z][a-z0-9_]{0,62}(?::\{[a-z][a-z0-9_]{0,62}\})*"
_MEMBER = r"[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}"


def parse(document: bytes) -> Contract:
    """
    The contract that a YAML document declares, with its digest.

    Raises `DeclarationError`.
    """
    with Members(documents.parse(document), "") as root:
        contract = _contract(root)
    soundness.require(contract)
    return digests.seal(contract)


def parse_registered(document: bytes) -> Contract:
    """
    As `parse`, for a document that is uploaded while the gateway runs: a tool of the business, reached over HTTP.

    Whether the name is free is checked by `Registry.with_tool`. Raises `DeclarationError`.
    """
    contract = parse(document)
    if contract.family is not Family.BUSINESS:
        raise DeclarationError("family", "`business`: governance is not registered")
    if contract.connector.kind != "http":
        raise DeclarationError("connector.kind", "`http`: only such tools are registered")
    return contract


def _title(root: Members) -> str:
    expected = "one line of 2 to 200 characters in NFC, none of them hidden"
    title = root.text("title", pattern=r"\S.{0,198}\S", expected=expected)
    # People approve what it says.
    if "\r" in title or not texts.is_plain(title) or not is_normalized("NFC", title):
        raise DeclarationError("title", expected)
    return title


def _contract(root: Members) -> Contract:
    return Contract(
        name=ToolName(root.name("name")),
        version=root.integer("version", minimum=1, maximum=1_000_000),
        title=_title(root),
        family=root.choice("family", Family),
        effect=root.choice("effect", Effect),
        resource_type=root.text(
            "resource_type",
            pattern="[A-Z][A-Za-z0-9]{0,62}",
            expected="a name such as Order",
            default=None if root.has("resource_argument") else "Tenant",
        ),
        resource_argument=root.name("resource_argument") if root.has("resource_argument") else None,
        arguments=_fields(root, "arguments"),
        result=_fields(root, "result"),
        reason_codes=root.texts("reason_codes", pattern=_REASON, expected="such as late_delivery", most=CHOICES_MAX),
        risk=root.expression("risk"),
        approver=root.text(
            "approver", pattern="|".join(APPROVER_ROLES), expected=f"one of: {', '.join(APPROVER_ROLES)}"
        ),
        excluded=root.texts(
            "excluded", pattern=_MEMBER, expected="such as appeal.first_decider", most=FACTS_MAX, default=()
        ),
        facts=tuple(_fact(name, each) for name, each in root.each("facts", most=FACTS_MAX, optional=True)),
        limits=tuple(_limit(name, each) for name, each in root.each("limits", most=LIMITS_MAX, optional=True)),
        visible_to=_visible_to(root),
        undo=_reference(root, "undo"),
        confirm=_reference(root, "confirm"),
        status_path=_optional_path(root, "status_path"),
        is_idempotent=root.flag("is_idempotent"),
        is_fenced=root.flag("is_fenced"),
        deadline_ms=root.integer("deadline_ms", minimum=1, maximum=DEADLINE_MS_MAX, default=3000),
        calls_per_minute=root.integer("calls_per_minute", minimum=1, maximum=CALLS_PER_MINUTE_MAX, default=6000),
        connector=_connector(root),
        digest=ToolDigest(""),
    )


def _fields(parent: Members, name: str) -> tuple[Field, ...]:
    return tuple(_field(each, member) for each, member in parent.each(name, most=FIELDS_MAX))


def _field(name: str, member: Members) -> Field:
    with member:
        kind = member.choice("kind", Kind)
        label = member.choice("label", Label, Label.INTERNAL)
        optional = member.flag("optional")
        match kind:
            case Kind.INTEGER:
                minimum = member.integer("minimum", minimum=-INTEGER_MAX, maximum=INTEGER_MAX, default=-INTEGER_MAX)
                maximum = member.integer("maximum", minimum=minimum, maximum=INTEGER_MAX, default=INTEGER_MAX)
                return Field(name=name, kind=kind, label=label, optional=optional, minimum=minimum, maximum=maximum)
            case Kind.CHOICE:
                choices = member.texts(
                    "choices", pattern="[A-Za-z][A-Za-z0-9_]{0,62}", expected="a word", most=CHOICES_MAX
                )
                return Field(name=name, kind=kind, label=label, optional=optional, choices=choices)
            case Kind.IDENTIFIER | Kind.TEXT:
                return _text_field(name, kind, label, member, optional=optional)
            case Kind.RECORD | Kind.LIST:
                most = 1 if kind is Kind.RECORD else _items_max(member)
                fields = _fields(member, "fields")
                return Field(name=name, kind=kind, label=label, optional=optional, fields=fields, length_max=most)
            case _:
                return Field(name=name, kind=kind, label=label, optional=optional)


def _text_field(name: str, kind: Kind, label: Label, member: Members, *, optional: bool) -> Field:
    prefix = pattern = None
    if kind is Kind.IDENTIFIER and not member.has("pattern"):
        prefix = member.text("prefix", pattern="[a-z]{2,8}", expected="2 to 8 small letters, or else a pattern")
    elif member.has("pattern"):
        expected = "a regular expression of at most 200 ASCII characters that runs in linear time"
        pattern = member.text("pattern", pattern=r"[\x20-\x7e]{1,200}", expected=expected)
    length_max = member.integer("length_max", minimum=1, maximum=TEXT_MAX, default=200)
    return Field(
        name=name,
        kind=kind,
        label=label,
        optional=optional,
        prefix=prefix,
        pattern=pattern,
        length_max=length_max,
        resolves=kind is Kind.TEXT and member.flag("resolves"),
    )


def _items_max(member: Members) -> int:
    return member.integer("length_max", minimum=1, maximum=ITEMS_MAX, default=200)


def _fact(name: str, member: Members) -> FactSource:
    with member:
        return FactSource(
            name=name,
            path=member.text("path", pattern=_PATH, expected=_PATH_EXPECTED),
            age_seconds_max=member.integer("age_seconds_max", minimum=1, maximum=AGE_SECONDS_MAX),
            fields=_fields(member, "fields"),
            method=member.text("method", pattern="GET|POST", expected="GET or POST", default="GET"),
            source=member.text("source", pattern="http|ledger", expected="http or ledger", default="http"),
        )


def _limit(name: str, member: Members) -> Limit:
    with member:
        return Limit(
            name=name,
            key=member.text("key", pattern=_KEY, expected="tenant, principal, or such as order:{order_id}"),
            amount=member.expression("amount"),
            ceiling=member.expression("ceiling"),
            window=_optional(member, "window", "hour|day", "hour or day"),
            since=_optional(member, "since", NAME.pattern, "the name of a group of facts"),
            agents_only=member.flag("agents_only"),
            soft=member.flag("soft"),
            shows=_optional(member, "shows", _MEMBER, "such as order.in_flight_cents"),
        )


def _visible_to(root: Members) -> dict[str, tuple[str, ...]]:
    everyone = (AGENTS, *ROLES)
    with root.only("visible_to") as labels:
        visible: dict[str, tuple[str, ...]] = {Label.PUBLIC.value: everyone}
        for label in (Label.INTERNAL.value, Label.PERSONAL.value):
            if labels.has(label):
                expected = f"one of: {', '.join(everyone)}"
                visible[label] = labels.texts(label, pattern="|".join(everyone), expected=expected, most=len(everyone))
        return visible


def _reference(root: Members, name: str) -> Reference | None:
    if not root.has(name):
        return None
    with root.only(name) as member:
        expects = _referred(member, "expects") if name == "confirm" and member.has("expects") else None
        return Reference(tool=ToolName(member.name("tool")), arguments=_referred(member, "arguments"), expects=expects)


def _referred(member: Members, part: str) -> dict[str, str | int | bool]:
    referred: dict[str, str | int | bool] = {}
    tree: dict[str, Tree] = member.mapping(part)
    for name, value in tree.items():
        if not NAME.fullmatch(name) or not isinstance(value, str | int) or len(tree) > FIELDS_MAX:
            raise DeclarationError(member.at(part), f"names of {part}, each with a reference or a literal")
        referred[name] = value
    return referred


def _connector(root: Members) -> Connector:
    with root.only("connector") as member:
        kind = member.text("kind", pattern="http|ledger|local", expected="http, ledger or local")
        if kind == "ledger":
            return Connector(kind=kind, method="", act=member.name("act"))
        if kind == "local":
            return Connector(kind=kind, method="")
        return Connector(
            kind=kind,
            origin=member.text("origin", pattern=_ORIGIN, expected="the name of an origin in the settings"),
            method=member.text("method", pattern="GET|POST", expected="GET or POST", default="POST"),
            path=member.text("path", pattern=_PATH, expected=_PATH_EXPECTED),
        )


def _optional(member: Members, name: str, pattern: str, expected: str) -> str | None:
    return member.text(name, pattern=pattern, expected=expected) if member.has(name) else None


def _optional_path(root: Members, name: str) -> str | None:
    return _optional(root, name, _PATH, "a path such as /operations/{effect_id}")
