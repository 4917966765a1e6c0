"""What an offline command is given: a bundle as a file or a folder, the tools by the digests of their contracts.

The tools that come with this release are at hand; those that were registered at run time are read from a folder of
declarations, one YAML document for each, as a gateway hands them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invariants.errors import InvariantError
from policies import bundles
from proofs import canonical
from tool_registry import declarations
from tool_registry.contracts import Contract
from tool_registry.documents import DeclarationError
from tool_registry.registry import CATALOGUE, load_catalogue

_BYTES_MAX = 16 * 1024 * 1024  # A certificate or a packet; a bundle is refused far below.
_FILES = ("policies.cedar", "invariants.cedar")


class SourceMissing(InvariantError):
    """A contract that is named by its digest is not at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The rules and invariants at hand."""

    files: Mapping[str, str]
    """`policies.cedar` and `invariants.cedar`."""
    digest: str | None
    """Of the bundle. None: a folder has no manifest, so it is no whole bundle."""


def bundle(path: Path) -> Source:
    """A bundle file as the gateway stores it, or a folder laid out as `policies/base`. Raises `PolicyFault`."""
    if path.is_dir():
        return Source(files={name: content(path / name).decode() for name in _FILES}, digest=None)
    read = bundles.parse(content(path))
    return Source(files=read.files, digest=read.digest)


def tools(wanted: Mapping[str, str], folder: Path | None) -> tuple[Contract, ...]:
    """
    The contracts of these digests, from this release's catalogue and `folder`.

    Raises `SourceMissing` for one that is not among them, `DeclarationError` for a declaration that cannot be read.
    """
    known = {str(contract.digest): contract for contract in every_tool(folder)}
    missing = [f"{name} ({digest})" for name, digest in sorted(wanted.items()) if digest not in known]
    if missing:
        raise SourceMissing(f"contracts that are not at hand: {', '.join(missing)}")
    return tuple(known[digest] for digest in wanted.values())


def every_tool(folder: Path | None) -> Iterable[Contract]:
    """Every contract at hand."""
    yield from load_catalogue(CATALOGUE).contracts.values()
    for path in sorted(folder.glob("*.yaml")) if folder is not None else ():
        try:
            yield declarations.parse(content(path))
        except DeclarationError as error:
            raise DeclarationError(f"{path.name}: {error.member}", error.expected) from error


def document(path: Path) -> Any:
    """A JSON document, read strictly. Raises `EvidenceError`."""
    return canonical.parse(content(path), depth_max=canonical.ENCODED_DEPTH_MAX)


def content(path: Path) -> bytes:
    """A file of bounded size. Raises `OSError`, `InvariantError`."""
    with path.open("rb") as file:
        read = file.read(_BYTES_MAX + 1)
    if len(read) > _BYTES_MAX:
        raise InvariantError(f"`{path.name}`: at most {_BYTES_MAX} bytes expected")
    return read
