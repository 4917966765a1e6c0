"""Soundness: the members of one contract agree with each other.

A member that is well-formed alone can still be nonsense beside its neighbours: a counter in flight since a fact that is
not there, an undo that needs a result it does not get, personal data that no role may see. Each such rule is one
function here, and says what was expected of which member.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from pydantic_core import SchemaError, SchemaValidator, core_schema

from tool_registry.contracts import Contract, Effect, Family, Field, Kind, Label, Limit, Reference
from tool_registry.documents import DeclarationError
from tool_registry.shapes import ShapeError, compile_shape

FACT_KINDS = (Kind.INTEGER, Kind.FLAG, Kind.IDENTIFIER, Kind.CHOICE)
SEGMENT_KINDS = (Kind.IDENTIFIER, Kind.CHOICE)
SOURCES = ("arguments", "facts", "result")
"""Where a reference may take an argument from."""

_RESOLVING_MAX = 8  # Each may cost a read of its source, as a fact does.
_TOKEN_LENGTH = len("tok_") + 16
_RESERVED_TYPES = ("Action", "Agent", "Person", "Role", "Tenant")
# What engines read differently: escapes that stand for classes of characters, set arithmetic, flags, look-around.
_NOT_PORTABLE = re.compile(r"\\[A-RT-Za-rt-z0-9]|\[\[|&&|~~|--|\(\?(?!:)|[*+?}][+]")
_PLACEHOLDER = re.compile(r"\{([a-z0-9_]+)\}")


def require(contract: Contract) -> None:
    """Raise `DeclarationError` for the first rule that the contract breaks."""
    for rule in _RULES:
        rule(contract)


def source_of(contract: Contract, reference: str) -> Field | None:
    """The field behind `arguments.x`, `facts.g.x` or `result.x`; None where there is none that is always present."""
    origin, _, rest = reference.partition(".")
    if origin == "facts":
        group, _, name = rest.partition(".")
        among = next((each.fields for each in contract.facts if each.name == group), ())
        rest = name
    else:
        among = contract.arguments if origin == "arguments" else contract.result
    return next((each for each in among if each.name == rest and not each.optional), None)


def is_reference(value: object) -> bool:
    """Whether the value of a reference's argument points somewhere, rather than being a literal."""
    return isinstance(value, str) and value.split(".")[0] in SOURCES and "." in value


def _patterns_compile(contract: Contract) -> None:
    for member, field in _fields_with_paths(contract):
        if field.pattern is not None:
            _require_pattern(field, f"{member}.pattern")


def _require_pattern(field: Field, member: str) -> None:
    pattern = field.pattern or ""
    if _NOT_PORTABLE.search(pattern):
        raise DeclarationError(member, r"a pattern of classes, groups `(?:`, `|`, quantifiers and `\s`, `\S` alone")
    try:
        # Alone first: `a)|(?:b` would only compile inside the anchors, and undo them.
        SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
        compile_shape((field,))
    except (SchemaError, ShapeError) as error:
        raise DeclarationError(member, "a pattern that runs in linear time") from error


def _kinds_fit_their_place(contract: Contract) -> None:
    for each in contract.arguments:
        if each.kind in {Kind.RECORD, Kind.LIST}:
            raise DeclarationError(f"arguments.{each.name}.kind", "a plain kind: records and lists are for results")
    for source in contract.facts:
        for each in source.fields:
            if each.kind not in FACT_KINDS or each.optional:
                expected = f"one of: {', '.join(FACT_KINDS)}, and not optional"
                raise DeclarationError(f"facts.{source.name}.fields.{each.name}.kind", expected)


def _resource_is_named(contract: Contract) -> None:
    if contract.resource_argument is None:
        if contract.resource_type != "Tenant":
            raise DeclarationError("resource_argument", "the argument that names the resource")
        return
    if contract.resource_type in _RESERVED_TYPES:
        raise DeclarationError("resource_type", f"another name than {', '.join(_RESERVED_TYPES)}")
    _require_identifier(contract, contract.resource_argument, "resource_argument")


def _excluded_are_known(contract: Contract) -> None:
    for each in contract.excluded:
        field = source_of(contract, each if each.startswith("arguments.") else f"facts.{each}")
        if field is None or field.kind is not Kind.IDENTIFIER:
            raise DeclarationError("excluded", "identifiers of the facts or `arguments.`, which are always present")


def _facts_can_be_read(contract: Contract) -> None:
    for source in contract.facts:
        if source.name in {*SOURCES, "context"}:
            raise DeclarationError(f"facts.{source.name}", "another name")
        _require_placeholders(contract, source.path, f"facts.{source.name}.path")
        if source.source == "http" and contract.connector.kind != "http":
            raise DeclarationError(f"facts.{source.name}.source", "`ledger`: the connector has no origin")
        if source.source == "ledger" and contract.connector.kind == "http":
            raise DeclarationError(f"facts.{source.name}.source", "`http`: the ledger knows nothing of such tools")


def _limits_count(contract: Contract) -> None:
    shown: set[str] = {f"{source.name}.{each.name}" for source in contract.facts for each in source.fields}
    groups = {source.name for source in contract.facts}
    for limit in contract.limits:
        path = f"limits.{limit.name}"
        _require_placeholders(contract, limit.key, f"{path}.key")
        _require_one_period(limit, path, groups)
        if limit.soft and limit.shows is None:
            raise DeclarationError(f"{path}.shows", "the reading's place: the risk expression needs it")
        if limit.shows in shown:
            raise DeclarationError(f"{path}.shows", "a member of its own")
        if limit.shows:
            shown.add(limit.shows)


def _require_one_period(limit: Limit, path: str, groups: Iterable[str]) -> None:
    if (limit.window is None) == (limit.since is None):
        raise DeclarationError(path, "either a window or since")
    if limit.since is not None:
        if limit.since not in groups:
            raise DeclarationError(f"{path}.since", "a group of the facts")
        if limit.soft or limit.agents_only:
            raise DeclarationError(path, "soft and agents_only with a window only")


def _effect_agrees(contract: Contract) -> None:
    is_read = contract.effect is Effect.READ
    if is_read and contract.risk != "0":
        raise DeclarationError("risk", '"0": a read changes nothing')
    for name in ("undo", "confirm", "status_path", "limits", "excluded"):
        if is_read and getattr(contract, name):
            raise DeclarationError(name, "nothing: a read changes nothing")
    if contract.connector.kind == "http" and contract.connector.method != ("GET" if is_read else "POST"):
        raise DeclarationError("connector.method", "GET for a read, POST for all else")
    if contract.undo and contract.effect is not Effect.REVERSIBLE:
        raise DeclarationError("undo", "nothing: the effect is irreversible")


def _connector_agrees(contract: Contract) -> None:
    connector = contract.connector
    if contract.family is Family.GOVERNANCE and (connector.kind != "ledger" or connector.act != contract.name):
        raise DeclarationError("connector", "kind ledger and the tool's name as act")
    if _PLACEHOLDER.search(connector.path):
        raise DeclarationError("connector.path", "a path without placeholders: the arguments travel in body or query")
    if contract.status_path is not None and _PLACEHOLDER.findall(contract.status_path) != ["effect_id"]:
        raise DeclarationError("status_path", "a path with the placeholder {effect_id} once")
    if contract.status_path is not None and connector.kind != "http":
        raise DeclarationError("status_path", "nothing: only http tools have one")


def _references_resolve(contract: Contract) -> None:
    for name, reference in (("undo", contract.undo), ("confirm", contract.confirm)):
        for argument, value in _pointing(reference):
            if source_of(contract, value) is None:
                raise DeclarationError(f"{name}.{argument}", "a declared member that is always present")


def _labels_have_readers(contract: Contract) -> None:
    for label in _labels((*contract.arguments, *contract.result)):
        if label is not Label.SECRET and label.value not in contract.visible_to:
            raise DeclarationError(f"visible_to.{label.value}", "the roles that see such values")


def _tokens_resolve_unseen(contract: Contract) -> None:
    """A value that no caller sees reaches the body of one dispatch, and comes back under a label that hides it."""
    for path, field in _fields_with_paths(contract):
        if field.resolves and not path.startswith("arguments."):
            raise DeclarationError(f"{path}.resolves", "false: only arguments resolve")
    resolving = [each for each in contract.arguments if each.resolves]
    for each in resolving:
        member = f"arguments.{each.name}"
        if each.label is not Label.PERSONAL:
            raise DeclarationError(f"{member}.label", "personal: a token stands for personal data")
        if each.length_max < _TOKEN_LENGTH:
            raise DeclarationError(f"{member}.length_max", f"at least {_TOKEN_LENGTH}: the length of a token")
    if not resolving:
        return
    if len(resolving) > _RESOLVING_MAX:
        raise DeclarationError(f"arguments.{resolving[-1].name}.resolves", f"at most {_RESOLVING_MAX} that resolve")
    if contract.connector.kind != "http" or contract.effect is Effect.READ:
        raise DeclarationError(f"arguments.{resolving[0].name}.resolves", "false: only writes over http resolve")
    for source in contract.facts:
        if source.method == "POST":
            # It would judge the token, and the tool would get the value.
            raise DeclarationError(f"facts.{source.name}.method", "GET: no fact is computed from what resolves")
    for path, field in _nested("result", contract.result):
        if _can_say_anything(field) and field.label not in (Label.PERSONAL, Label.SECRET):
            raise DeclarationError(f"{path}.label", "personal or secret: the tool could repeat the value in it")


def _can_say_anything(field: Field) -> bool:
    return field.kind is Kind.TEXT or (field.kind is Kind.IDENTIFIER and field.prefix is None)


def _labels(fields: Iterable[Field]) -> Iterator[Label]:
    for each in fields:
        if not each.fields:
            yield each.label
        yield from _labels(each.fields)


def _fields_with_paths(contract: Contract) -> Iterator[tuple[str, Field]]:
    yield from _nested("arguments", contract.arguments)
    yield from _nested("result", contract.result)
    for source in contract.facts:
        yield from _nested(f"facts.{source.name}.fields", source.fields)


def _nested(path: str, fields: Iterable[Field]) -> Iterator[tuple[str, Field]]:
    for each in fields:
        yield f"{path}.{each.name}", each
        yield from _nested(f"{path}.{each.name}.fields", each.fields)


def _pointing(reference: Reference | None) -> Iterator[tuple[str, str]]:
    if reference is None:
        return
    for part, given in (("arguments", reference.arguments), ("expects", reference.expects or {})):
        for name, value in given.items():
            if isinstance(value, str) and is_reference(value):
                yield f"{part}.{name}", value


def _require_placeholders(contract: Contract, template: str, member: str) -> None:
    for name in _PLACEHOLDER.findall(template):
        _require_identifier(contract, name, member)


def _require_identifier(contract: Contract, name: str, member: str) -> None:
    field = source_of(contract, f"arguments.{name}")
    if field is None or field.kind not in SEGMENT_KINDS:
        raise DeclarationError(member, "an identifier or a choice of the arguments, which is always present")


_RULES: tuple[Callable[[Contract], None], ...] = (
    _patterns_compile,
    _kinds_fit_their_place,
    _resource_is_named,
    _excluded_are_known,
    _facts_can_be_read,
    _limits_count,
    _effect_agrees,
    _connector_agrees,
    _references_resolve,
    _labels_have_readers,
    _tokens_resolve_unseen,
)
