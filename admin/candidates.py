"""A bundle to be looked at: a file, a folder laid out as `policies/base`, or the one in force at the gateway.

What cannot be read, or does not fit the tools, ends here with its cause and what to do; nothing after this has to doubt
the form of what it looks at. Whether anybody signed it is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from admin import display, writing
from admin.connection import ask, stream
from admin.errors import CommandError, Found
from admin.identities import Session
from invariants import declared, jobs
from invariants.errors import Unreadable
from invariants.jobs import Job
from policies import bundles, cedar
from policies.bundles import Bundle
from policies.errors import PolicyFault
from policies.schema import CedarSchema, SchemaError, generate
from proofs import canonical
from proofs.errors import EvidenceError
from tool_registry import declarations
from tool_registry.contracts import Contract
from tool_registry.documents import DeclarationError
from tool_registry.registry import CATALOGUE, load_catalogue

ACTIVE = "active"
SHOWN_MAX = 10  # What is wrong with a text is mostly wrong in many places at once.

Place = Annotated[
    Path,
    typer.Argument(metavar="FILE-OR-FOLDER", help="Bundle file (JSON), or a folder of rules.", show_default=False),
]
Tools = Annotated[Path, typer.Option(help="Folder of tool declarations.", show_default="the catalogue")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The tools that a bundle is about."""

    contracts: tuple[Contract, ...]
    schema: CedarSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A well-formed bundle over some tools."""

    name: str
    """As the reader named it."""
    bundle: Bundle
    tools: Toolbox
    folder: Path | None
    """Where cases can be added. None: it is no folder."""

    @property
    def job(self) -> Job:
        """What a solver is given."""
        return jobs.job(self.bundle.files, self.tools.schema, self.tools.contracts)


def toolbox(folder: Path = CATALOGUE) -> Toolbox:
    """Read the declarations of a folder. Raises `CommandError` where it holds no usable tools."""
    if not folder.is_dir():
        raise _bad(
            f"`{folder}` is no folder of tools", "say --tools with a folder that has one YAML file for each tool"
        )
    try:
        contracts = tuple(load_catalogue(folder).contracts.values())
        if not contracts:
            raise _bad(f"`{folder}` holds no tools", "say --tools with a folder that has one YAML file for each tool")
        return Toolbox(contracts=contracts, schema=generate(contracts))
    except (DeclarationError, SchemaError, OSError) as error:
        raise _bad(
            f"the tools of `{folder}` cannot be used: {error}", "docs/tools.md says how a tool is declared"
        ) from error


def registered(session: Session) -> Toolbox:
    """The tools of the gateway: those of the catalogue, and what was registered there while it ran."""
    # Whoever may not read bundles is told so in the gateway's words, and not of some declaration on the way.
    display.require(ask(session, "GET", "/v1/bundles"))
    known: dict[str, Contract] = {contract.digest: contract for contract in load_catalogue().contracts.values()}
    listed = display.require(ask(session, "GET", "/v1/tools")).get("tools") or ()
    contracts: list[Contract] = []
    for each in listed:
        digest, name = str(each.get("digest")), str(each.get("name"))
        contracts.append(known.get(digest) or _declared(session, name, digest))
    try:
        return Toolbox(contracts=tuple(contracts), schema=generate(contracts))
    except SchemaError as error:
        raise _bad(f"the gateway's tools cannot be used: {error}", "say --tools with its tools") from error


def read(place: Path, tools: Toolbox) -> Candidate:
    """Read a bundle file or a folder of rules. Raises `CommandError` for whatever is no bundle."""
    if place.is_dir():
        now = datetime.now(UTC)
        bundle = writing.compose(place, tenant="system", environment="dev", revision=1, days=1, now=now)
        return Candidate(name=str(place), bundle=bundle, tools=tools, folder=place)
    raw = writing.content(place, "say the path of a bundle (JSON), or of a folder laid out as policies/base")
    try:
        bundle = bundles.parse(raw)
    except PolicyFault as fault:
        raise _bad(f"`{place}` is no bundle: {fault}", "`lockgate bundle sign FOLDER` makes one") from fault
    return Candidate(name=str(place), bundle=bundle, tools=tools, folder=None)


def in_force(session: Session, tools: Toolbox) -> Candidate:
    """The bundle that decides at the gateway now. Raises `CommandError` where it cannot be had."""
    active = display.require(ask(session, "GET", "/v1/bundles")).get("in_force")
    if not isinstance(active, Mapping):
        raise _bad("no bundle is in force", "publish and activate one: `lockgate bundle publish FILE`")
    digest = str(active.get("bundle"))
    document: Mapping[str, Any] = display.require(ask(session, "GET", f"/v1/bundles/{digest}"))
    try:
        bundle = bundles.parse(canonical.encode(dict(document)))
    except (PolicyFault, EvidenceError) as error:
        raise _bad(f"what the gateway calls bundle {digest} is none: {error}", "`lockgate doctor` checks") from error
    if bundle.digest != digest:
        raise _bad(f"the gateway gave bundle {bundle.digest} for {digest}", "`lockgate doctor` checks")
    return Candidate(name=f"{ACTIVE} (revision {active.get('revision')})", bundle=bundle, tools=tools, folder=None)


def require_fitting(candidate: Candidate) -> None:
    """
    Raise `CommandError` for rules or invariants that mean nothing over these tools.

    Hints, names and cases are the review's matter and not asked for: a solver does not need them.
    """
    schema = candidate.tools.schema
    if candidate.bundle.manifest.schema_digest not in (None, schema.digest):
        raise _misfit(candidate, ["manifest: written for another schema than that of these tools"])
    try:
        cedar.parse(candidate.bundle.policies)
        found = [f"policies.cedar: {each}" for each in cedar.problems(candidate.bundle.policies, schema)]
        if not found:
            declared.read(candidate.bundle.invariants, schema.typed)
            found = [f"invariants.cedar: {each}" for each in cedar.problems(candidate.bundle.invariants, schema)]
    except PolicyFault as fault:
        found = [f"policies.cedar: {fault}"]
    except Unreadable as fault:
        found = [f"invariants.cedar: {fault}"]
    if found:
        raise _misfit(candidate, found)


def _declared(session: Session, name: str, digest: str) -> Contract:
    try:
        found = declarations.parse_registered(b"".join(stream(session, f"/v1/declarations/{digest}")))
    except DeclarationError as error:
        raise _bad(
            f"the gateway's tool `{name}` is neither of this release nor declared there: {error}",
            "say --tools with the gateway's tools",
        ) from error
    if found.digest != digest:
        raise _bad(f"the gateway gave tool {found.digest} for {digest}", "`lockgate doctor` checks")
    return found


def _misfit(candidate: Candidate, found: list[str]) -> CommandError:
    sentence = f"`{candidate.name}` does not fit the tools: {found[0]}"
    if len(found) > 1:
        sentence += f" (and {len(found) - 1} more)"
    step = "mend it (`lockgate bundle check` shows everything), or say --tools with the tools it is written for"
    document = {"error": sentence, "next_step": step, "exit": int(Found.BAD_INPUT), "findings": found[:SHOWN_MAX]}
    return CommandError(sentence, step, code=Found.BAD_INPUT, document=document)


def _bad(sentence: str, next_step: str) -> CommandError:
    return CommandError(sentence, next_step, code=Found.BAD_INPUT)
