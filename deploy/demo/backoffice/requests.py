"""Reading a request: strict JSON, bounded bodies, and the headers that every operation must carry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.requests import Request

from deploy.demo.backoffice.effects import Instruction, Refusal
from deploy.demo.backoffice.seeds import TENANTS

BODY_BYTES_MAX = 64 * 1024
INTEGER_MAX = 2**53 - 1

_EFFECT_ID = re.compile(r"[\x21-\x7e]{1,200}")
_WHOLE = re.compile(r"[0-9]{1,16}")
_REASON_CODE = re.compile(r"[a-z][a-z0-9_]{0,62}")


def tenant_of(request: Request) -> str:
    """The tenant that the header names."""
    tenant = _header(request, "lockgate-tenant")
    if tenant not in TENANTS:
        raise Refusal("unknown_tenant", status=422)
    return tenant


async def instruction_of(request: Request, tool: str) -> Instruction:
    """
    A request to change something.

    Raises `Refusal` where a header is missing, doubled or malformed, or the body is not what it should be.
    """
    effect_id = _header(request, "idempotency-key")
    if not _EFFECT_ID.fullmatch(effect_id):
        raise Refusal("malformed_idempotency_key", status=400)
    tenant = tenant_of(request)
    fence, deadline_ms = _whole(request, "lockgate-fence"), _whole(request, "lockgate-deadline")
    body = await read_json(request)
    if not isinstance(body, dict) or set(body) != {"arguments", "reason_code"}:
        raise Refusal("malformed_body", status=400)
    arguments, reason_code = body["arguments"], body["reason_code"]
    if not isinstance(arguments, dict) or not isinstance(reason_code, str) or not _REASON_CODE.fullmatch(reason_code):
        raise Refusal("malformed_body", status=400)
    return Instruction(
        effect_id=effect_id,
        tenant=tenant,
        tool=tool,
        arguments=arguments,
        reason_code=reason_code,
        fence=fence,
        deadline_ms=deadline_ms,
        correlation=request.headers.get("x-correlation-id", "")[:200] or None,
    )


async def copy_of(request: Request) -> tuple[str, str]:
    """Title and body of a listing that somebody thinks of publishing: `{"arguments": {"title", "body", …}}`."""
    body = await read_json(request)
    arguments = body.get("arguments") if isinstance(body, dict) else None
    if not isinstance(arguments, dict):
        raise Refusal("malformed_body", status=400)
    title, copy = arguments.get("title"), arguments.get("body")
    if not isinstance(title, str) or not isinstance(copy, str):
        raise Refusal("malformed_arguments", status=422)
    return title, copy


def fence_of(request: Request) -> int | None:
    """The fence of a status query, where it carries one."""
    return _whole(request, "lockgate-fence") if "lockgate-fence" in request.headers else None


async def read_json(request: Request) -> Any:
    """The body as JSON; refuses a long one, doubled members, and numbers that are not plain integers."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Refusal("body_too_large", status=413)
    try:
        text = body.decode()
        if "\\u0000" in text or "\x00" in text:
            raise ValueError("no database text holds NUL")
        value = json.loads(
            text,
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        json.dumps(value, ensure_ascii=False).encode()  # A lone surrogate shows only now.
    except (ValueError, RecursionError) as error:
        raise Refusal("malformed_body", status=400) from error
    return value


def _header(request: Request, name: str) -> str:
    values = request.headers.getlist(name)
    if len(values) != 1:
        raise Refusal(f"one_{name.replace('-', '_')}_expected", status=400)
    return values[0]


def _whole(request: Request, name: str) -> int:
    text = _header(request, name)
    if not _WHOLE.fullmatch(text):
        raise Refusal(f"malformed_{name.replace('-', '_')}", status=400)
    return int(text)


def _members(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > INTEGER_MAX:
        raise ValueError("beyond what every reader agrees on")
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError("not an integer")
