"""The registry: which tools exist. Immutable; a new tool makes a new registry.

The catalogue is a directory with one YAML document for each tool, and the only place where a tool is declared. What a
contract says of other tools is true within a registry: an undo and a confirming read exist, and are given exactly the
arguments that they take; an undo shows nobody what the call that it undoes hides from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from tool_registry import declarations, digests, texts
from tool_registry.contracts import Contract, Effect, Family, Field, Label, Reference, ToolName
from tool_registry.documents import BYTES_MAX, DeclarationError
from tool_registry.shapes import accepts
from tool_registry.soundness import is_reference, source_of

CATALOGUE = Path(__file__).parent / "catalogue"
_LABELS = tuple(Label)
"""From what everybody sees to what nobody does."""
_KEPT_AS_TOKENS = (Label.PERSONAL, Label.SECRET)


class Registry:
    """Contracts by name."""

    __slots__ = ("_contracts", "_digest")

    def __init__(self, contracts: Iterable[Contract]) -> None:
        """Raises `DeclarationError` where two tools have one name, or one tool speaks wrongly of another."""
        by_name: dict[str, Contract] = {}
        for each in contracts:
            if each.name in by_name:
                raise DeclarationError("name", "a name that no other tool has")
            by_name[each.name] = each
        self._contracts = MappingProxyType({name: by_name[name] for name in sorted(by_name)})
        for each in self._contracts.values():
            _require_undo(each, self._contracts)
            _require_confirm(each, self._contracts)
        self._digest = digests.of_all(self._contracts)

    @property
    def contracts(self) -> Mapping[str, Contract]:
        """All contracts by name, sorted by it."""
        return self._contracts

    @property
    def names(self) -> tuple[ToolName, ...]:
        """All names, sorted."""
        return tuple(each.name for each in self._contracts.values())

    @property
    def digests(self) -> dict[str, str]:
        """The digest of every contract by name, as certificates have them."""
        return {name: str(each.digest) for name, each in self._contracts.items()}

    @property
    def digest(self) -> str:
        """One digest over every contract."""
        return self._digest

    def get(self, name: str) -> Contract | None:
        """The contract of that name, or None."""
        return self._contracts.get(name)

    def has_look_alike(self, name: str) -> bool:
        """Whether a new tool of that name would be taken for another one by whoever approves its calls."""
        return name not in self._contracts and texts.skeleton(name) in map(texts.skeleton, self._contracts)

    def with_tool(self, contract: Contract) -> Registry:
        """
        A registry that holds `contract` too, or instead of its former version.

        Takes what `declarations.parse_registered` gives. A name that is taken needs a higher version, and only a tool
        that could itself have been registered can be replaced: nobody shadows governance.

        Raises `DeclarationError`.
        """
        former = self.get(contract.name)
        if contract.family is not Family.BUSINESS or contract.connector.kind != "http":
            raise DeclarationError("connector.kind", "`http`, in the family `business`")
        if former is not None:
            if former.family is not Family.BUSINESS or former.connector.kind != "http":
                raise DeclarationError("name", "a name that the gateway does not keep for itself")
            if contract.version <= former.version:
                raise DeclarationError("version", f"more than {former.version}, which is registered")
        others = (each for each in self._contracts.values() if each.name != contract.name)
        return Registry((*others, contract))


def load_catalogue(directory: Path = CATALOGUE) -> Registry:
    """
    Read every `*.yaml` of a directory; the file is named like the tool.

    Raises `DeclarationError`, whose member begins with the name of the file.
    """
    contracts = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            contract = declarations.parse(_read(path))
            if contract.name != path.stem:
                raise DeclarationError("name", "the name of the file")
        except DeclarationError as error:
            raise DeclarationError(f"{path.name}: {error.member}", error.expected) from error
        contracts.append(contract)
    return Registry(contracts)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BYTES_MAX + 1)


def _require_undo(contract: Contract, contracts: Mapping[str, Contract]) -> None:
    if contract.undo is None:
        return
    target = contracts.get(contract.undo.tool)
    if target is None or target.effect is Effect.READ or target.family is not contract.family:
        raise DeclarationError(f"{contract.name}: undo.tool", "a write of the same family")
    _require_arguments(contract, contract.undo, target, "undo")
    taken = {each.name: each for each in target.arguments}
    for argument, value in contract.undo.arguments.items():
        if is_reference(value) and not _stays_hidden(contract, str(value), target, taken[argument]):
            expected = f"a source that the log keeps, for whoever reads that argument of {target.name}"
            raise DeclarationError(f"{contract.name}: undo.arguments.{argument}", expected)


def _require_confirm(contract: Contract, contracts: Mapping[str, Contract]) -> None:
    if contract.confirm is None:
        return
    target = contracts.get(contract.confirm.tool)
    if target is None or target.effect is not Effect.READ:
        raise DeclarationError(f"{contract.name}: confirm.tool", "a read")
    _require_arguments(contract, contract.confirm, target, "confirm")
    shown = {each.name: each for each in target.result if not each.optional}
    for member, value in (contract.confirm.expects or {}).items():
        if member not in shown or not _fits(contract, value, shown[member]):
            expected = f"a member that {target.name} always shows, with a value of its kind"
            raise DeclarationError(f"{contract.name}: confirm.expects.{member}", expected)


def _require_arguments(contract: Contract, reference: Reference, target: Contract, name: str) -> None:
    taken: dict[str, Field] = {each.name: each for each in target.arguments}
    required = {each.name for each in target.arguments if not each.optional}
    given = set(reference.arguments)
    if not required <= given <= set(taken):
        expected = f"the arguments of {target.name}: {', '.join(taken)}"
        raise DeclarationError(f"{contract.name}: {name}.arguments", expected)
    for argument, value in reference.arguments.items():
        if not _fits(contract, value, taken[argument]):
            raise DeclarationError(f"{contract.name}: {name}.arguments.{argument}", f"a {taken[argument].kind.value}")


def _fits(contract: Contract, value: object, field: Field) -> bool:
    if not is_reference(value):
        return accepts(field, value)
    source = source_of(contract, str(value))
    # What was given as a token goes only where a token is one: no tool of the world takes it for the value.
    return (
        source is not None
        and source.kind is field.kind
        and source.prefix == field.prefix
        and (field.resolves or not source.resolves)
    )


def _stays_hidden(contract: Contract, reference: str, target: Contract, field: Field) -> bool:
    """Whether an undo that takes its argument from there shows nobody, and no record, what is hidden from them."""
    source = source_of(contract, reference)
    if source is None or source.label is Label.SECRET:
        return False  # Nobody sees a secret, and whoever asks for the undo sees its arguments.
    if source.label is Label.PUBLIC:
        return True
    if source.label in _KEPT_AS_TOKENS and (reference.startswith("facts.") or _may_be_a_value(contract, source)):
        return False
    is_as_hidden = _LABELS.index(source.label) <= _LABELS.index(field.label)
    return is_as_hidden and _readers(target, field.label) <= _readers(contract, source.label)


def _may_be_a_value(contract: Contract, source: Field) -> bool:
    """Whether what a token stands for can be there: the tool was given it. In the argument itself a token stays one."""
    return not source.resolves and any(each.resolves for each in contract.arguments)


def _readers(contract: Contract, label: Label) -> frozenset[str]:
    return frozenset(contract.visible_to.get(label.value, ()))
