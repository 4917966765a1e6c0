"""Admit: raw bytes become a call, or the client hears what does not fit.

What stands in `Call.canonical` is what policy, invariants, approval, audit and dispatch all read; nothing is rebuilt
from a database column or sent again by the client.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec import Struct

from gateway.encoding import encode
from gateway.encoding import parse as parse_strictly
from gateway.errors import BadRequest, NotFound
from gateway.identity import Principal
from gateway.tools import PreparedTool
from proofs import canonical
from tool_registry import texts
from tool_registry.shapes import ContractViolation

APPROVALS_MAX = 16  # No rule asks for more than three persons; a longer list is a mistake or an attack.
_BODY = {"tool", "arguments", "reason_code", "approvals", "edits"}
_KEY = re.compile(r"[\x21-\x7e]{2,255}")
_CORRELATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class Envelope(Struct, frozen=True, kw_only=True):
    """What came beside the body, before anything of it is believed."""

    key: str | None
    correlation: str | None
    is_dry_run: bool


class Call(Struct, frozen=True, kw_only=True):
    """One canonical request to one tool. Its existence means that bytes, contract and digests were checked."""

    principal: Principal
    environment: str
    tool: PreparedTool
    arguments: Mapping[str, Any]
    reason_code: str
    correlation: str | None
    key: str | None
    """The idempotency key. None for reads and dry runs, which run nothing twice."""
    approvals: tuple[UUID, ...]
    edits: UUID | None
    canonical: bytes
    request_digest: bytes
    """Tenant, environment, actor, subject, tool name, arguments, reason code: what a key is bound to."""
    digest: bytes
    """The request, and version, tool digest and correlation: what an approval is bound to."""
    claim: bytes
    is_dry_run: bool


def parse(raw: bytes) -> Mapping[str, Any]:
    """
    The body as strict JSON.

    Raises `BadRequest`: 400 for bytes that are no unambiguous JSON, 422 for text or names outside the profile, and for
    text in which something hides.
    """
    try:
        document = parse_strictly(raw)
    except canonical.Malformed as error:
        raise BadRequest("malformed_json", str(error)) from error
    except canonical.OutsideProfile as error:
        raise BadRequest("outside_profile", str(error), status=422) from error
    if not isinstance(document, dict):
        raise BadRequest("not_an_object", "expected one JSON object", status=422)
    # Of ASCII a document can hold no control but this one, unless it is escaped.
    if not (raw.isascii() and b"\\" not in raw and b"\x7f" not in raw) and not texts.are_plain(document):
        raise BadRequest("outside_profile", "hidden_character", status=422)
    return document


def named(document: Mapping[str, Any], tools: Mapping[str, PreparedTool]) -> str:
    """The tool that a body names, whatever else is wrong with it; empty for a name that no tool has."""
    name = document.get("tool")
    return name if isinstance(name, str) and name in tools else ""


def admit(
    document: Mapping[str, Any],
    envelope: Envelope,
    *,
    principal: Principal,
    environment: str,
    tools: Mapping[str, PreparedTool],
) -> Call:
    """
    A parsed body as a call.

    Raises `NotFound` for a tool that is not registered, `BadRequest` for everything that the contract does not admit.
    """
    if not document.keys() <= _BODY:
        raise BadRequest("unknown_member", "expected only tool, arguments, reason_code, approvals, edits", status=422)
    name = document.get("tool")
    if not isinstance(name, str):
        raise BadRequest("tool_missing", "`tool` must be a tool's name", status=422)
    tool = tools.get(name)
    if tool is None:
        raise NotFound("unknown_tool", "GET /v1/tools lists the tools of this tenant")
    arguments = _arguments(tool, document.get("arguments"))
    reason_code = _reason_code(tool, document.get("reason_code"))
    key = _key(envelope.key) if tool.is_write and not envelope.is_dry_run else None
    return _call(document, envelope, principal, environment, tool, arguments, reason_code, key)


def unquoted(key: str) -> str:
    """The key that was sent, also as a structured-field string (draft-ietf-httpapi-idempotency-key-header §2.1)."""
    return key[1:-1] if len(key) > 2 and key[0] == key[-1] == '"' else key


def _call(
    document: Mapping[str, Any],
    envelope: Envelope,
    principal: Principal,
    environment: str,
    tool: PreparedTool,
    arguments: Mapping[str, Any],
    reason_code: str,
    key: str | None,
) -> Call:
    correlation = _correlation(envelope.correlation)
    tenant, actor, contract = principal.tenant, principal.reference, tool.contract
    # Canonical bytes, member by member in the order of names. All but arguments and key are names that were checked
    # when they came in, of letters, digits and marks that JSON does not escape.
    start = f'{{"actor":"{actor}","arguments":{encode(arguments).decode()}'
    middle = f'"environment":"{environment}","reason_code":"{reason_code}","subject":"{principal.subject or ""}"'
    end = f'"tenant":"{tenant}","tool":"{contract.name}"'
    request = f"{start},{middle},{end}}}".encode()
    correlated = f'"correlation":"{correlation}",' if correlation else ""
    whole = (
        f'{start},{correlated}{middle},{end},"tool_digest":"{contract.digest}","version":{contract.version}}}'.encode()
    )
    claim = f'["{tenant}","{environment}","{actor}","{contract.name}",{encode(key or "").decode()}]'.encode()
    return Call(
        principal=principal,
        environment=environment,
        tool=tool,
        arguments=arguments,
        reason_code=reason_code,
        correlation=correlation,
        key=key,
        approvals=_approvals(document["approvals"]) if "approvals" in document else (),
        edits=_call_id(document["edits"]) if "edits" in document else None,
        canonical=whole,
        request_digest=hashlib.sha256(request).digest(),
        digest=hashlib.sha256(whole).digest(),
        claim=hashlib.sha256(claim).digest(),
        is_dry_run=envelope.is_dry_run,
    )


def correlation_shown(text: str | None) -> str:
    """A correlation id as a log may show it; empty for none, and for text that is no such id."""
    return text if text is not None and _CORRELATION.fullmatch(text) else ""


def call_text(call_id: UUID) -> str:
    """The id as clients see it; it is the effect id too."""
    return "call_" + call_id.hex


def call_id_of(text: object) -> UUID | None:
    """The id behind its text, or None when it is no call id."""
    if not isinstance(text, str) or not re.fullmatch(r"call_[0-9a-f]{32}", text):
        return None
    return UUID(text[5:])


def _call_id(text: object) -> UUID:
    call_id = call_id_of(text)
    if call_id is None:
        raise BadRequest("edits_malformed", "`edits` must be a call id", status=422)
    return call_id


def _arguments(tool: PreparedTool, arguments: object) -> Mapping[str, Any]:
    if not isinstance(arguments, dict):
        raise BadRequest("contract_violated", "`arguments` must be an object", status=422)
    try:
        tool.arguments.check(arguments)
    except ContractViolation as error:
        faults = [{"pointer": pointer, "expected": expected} for pointer, expected in error.faults[:20]]
        raise BadRequest("contract_violated", "see `faults`", status=422, members={"faults": faults}) from error
    return arguments


def _reason_code(tool: PreparedTool, reason_code: object) -> str:
    codes = tool.contract.reason_codes
    if reason_code in (None, "") and not (codes and tool.is_write):
        return ""
    if reason_code not in codes:
        raise BadRequest("reason_code_unknown", f"expected one of: {', '.join(codes) or 'none'}", status=422)
    return str(reason_code)


def _key(key: str | None) -> str:
    if key is None:
        raise BadRequest("key_missing", "a write needs an Idempotency-Key header")
    key = unquoted(key)
    if not _KEY.fullmatch(key):
        raise BadRequest("key_malformed", "expected 2 to 255 visible ASCII characters")
    return key


def _correlation(correlation: str | None) -> str | None:
    if correlation is not None and not _CORRELATION.fullmatch(correlation):
        raise BadRequest("correlation_malformed", "expected at most 64 letters, digits, `_`, `.`, `:`, `-`")
    return correlation


def _approvals(approvals: object) -> tuple[UUID, ...]:
    if not isinstance(approvals, list) or len(approvals) > APPROVALS_MAX:
        raise BadRequest("approvals_malformed", f"expected a list of at most {APPROVALS_MAX} approval ids", status=422)
    ids = []
    for text in approvals:
        if not isinstance(text, str) or not re.fullmatch(r"appr_[0-9a-f]{32}", text):
            raise BadRequest("approvals_malformed", "expected approval ids", status=422)
        ids.append(UUID(text[5:]))
    return tuple(dict.fromkeys(ids))
