"""The OpenAPI document: FastAPI's own for the plain routes, and the call route from the registry.

The call route is no FastAPI route, so that nothing documentary can ever run; its description is written here, with one
alternative per tool, integers only. The plain routes read their requests themselves; what they take is added here too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from gateway.activation import Policies
from gateway.admission import APPROVALS_MAX
from gateway.doors.batches import ITEMS_MAX
from gateway.doors.front import CALLS
from gateway.doors.routes import FEEDBACK_LENGTH_MAX, STATES
from gateway.ledger import SYSTEM
from gateway.settings import Settings
from gateway.tools import PreparedTool
from tool_registry import schemas
from tool_registry.contracts import Contract, Effect

PUBLIC = frozenset({"GET /healthz", "GET /readyz", "GET /metrics", "GET /v1/keys", "GET /v1/audit/checkpoint"})
"""The routes that ask for no token."""


def _parameter(place: str, name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"in": place, "name": name, "required": required, "schema": schema}


def _number(maximum: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": maximum}


def _object(properties: dict[str, Any], *, required: bool) -> dict[str, Any]:
    members = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**members, "required": sorted(properties)} if required else members


_TEXT = {"type": "string"}
_KEY = _parameter(
    "header",
    "Idempotency-Key",
    {"type": "string", "minLength": 2, "maxLength": 255, "pattern": "^[!-~]+$"},
    required=True,
)
_APPROVALS = {
    "type": "array",
    "maxItems": APPROVALS_MAX,
    "items": {"type": "string", "pattern": "^appr_[0-9a-f]{32}$"},
}
_PATH = {
    "call": _parameter("path", "call", {"type": "string", "pattern": "^call_[0-9a-f]{32}$"}, required=True),
    "tool": _parameter("path", "tool", {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"}, required=True),
    "agent": _parameter("path", "agent", {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"}, required=True),
    "digest": _parameter("path", "digest", {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}, required=True),
}
_QUERY = {
    "GET /v1/calls": [
        _parameter("query", "state", {"enum": list(STATES)}),
        _parameter("query", "before_ms", _number(10**14)),
    ],
    "GET /v1/calls/{call}": [_parameter("query", "wait", _number(Settings.model_fields["wait_seconds_max"].default))],
    "GET /v1/agents": [_parameter("query", "after", {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"})],
    "GET /v1/audit/entries": [_parameter("query", "after", _number(2**53 - 1))],
    "GET /v1/audit/checkpoint": [
        _parameter("query", "tenant", {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"}, required=True)
    ],
    "POST /v1/calls/{call}/undo": [_KEY],
}
_STATEMENT = _object(
    dict.fromkeys(
        ("call", "tool", "bundle", "requester", "approver", "key", "verdict", "shown", "reason", "not_after", "nonce"),
        _TEXT,
    ),
    required=True,
)
_VERDICT = ("application/json", _object({"statement": _STATEMENT, "signature": _TEXT}, required=True))
_CALL_IN_BATCH = {
    "type": "object",
    "required": ["tool", "arguments"],
    "properties": {
        "key": _KEY["schema"],
        "tool": {"type": "string"},
        "arguments": {"type": "object"},
        "reason_code": _TEXT,
        "approvals": _APPROVALS,
        "edits": _PATH["call"]["schema"],
    },
    "additionalProperties": False,
}
_VERDICT_IN_BATCH = _object(
    {"call": _PATH["call"]["schema"], "statement": _STATEMENT, "signature": _TEXT}, required=True
)


def _batch(name: str, item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    items = {"type": "array", "minItems": 1, "maxItems": ITEMS_MAX, "items": item}
    return ("application/json", _object({name: items}, required=True))


_BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /v1/batches": _batch("calls", _CALL_IN_BATCH),
    "POST /v1/verdicts": _batch("verdicts", _VERDICT_IN_BATCH),
    "POST /v1/calls/{call}/approvals": _VERDICT,
    "POST /v1/calls/{call}/rejections": _VERDICT,
    "POST /v1/calls/{call}/undo": (
        "application/json",
        _object({"reason_code": _TEXT, "approvals": _APPROVALS}, required=False),
    ),
    "POST /v1/calls/{call}/feedback": (
        "application/json",
        _object({"text": {"type": "string", "minLength": 1, "maxLength": FEEDBACK_LENGTH_MAX}}, required=True),
    ),
    "POST /v1/tools": ("application/yaml", _TEXT),
    "POST /v1/bundles": ("application/json", {"type": "object"}),
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "reason"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "reason": {"type": "string"},
        "detail": {"type": "string"},
    },
}


def call_route(door: Callable[[Any, Any, Any], Awaitable[None]]) -> Route:
    """The router's way to the same door; other methods get 405."""
    return Route(CALLS, endpoint=door, methods=["POST"], include_in_schema=False)


def openapi(app: FastAPI, policies: Policies) -> dict[str, Any]:
    """The whole document. The tools are those of the base bundle's tool set."""
    document = get_openapi(title="Lockgate", version="0.1.0", routes=app.routes)
    contracts = [tool.contract for tool in policies.active(SYSTEM).tools.values()]
    document["components"] = {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        "schemas": {"Problem": _PROBLEM},
    }
    document["security"] = [{"bearer": []}]
    document["paths"].setdefault(CALLS, {})["post"] = _call(contracts)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            _complete(f"{method.upper()} {path}", operation)
    return document


class Description:
    """The document as bytes, written once for each set of tools in force."""

    def __init__(self, app: FastAPI, policies: Policies) -> None:
        self._app = app
        self._policies = policies
        self._tools: Mapping[str, PreparedTool] | None = None
        self._content = b""

    def content(self) -> bytes:
        """What `GET /openapi.json` answers."""
        tools = self._policies.active(SYSTEM).tools
        if tools is not self._tools:
            self._tools, self._content = tools, orjson.dumps(openapi(self._app, self._policies))
        return self._content


def _complete(route: str, operation: dict[str, Any]) -> None:
    """What FastAPI cannot know of a route that reads its request itself."""
    operation["responses"] = _responses(operation.get("operationId", ""))
    if route in PUBLIC:
        operation["security"] = []
    parameters = [_PATH[name] for name in _PATH if f"{{{name}}}" in route] + _QUERY.get(route, [])
    if parameters:
        operation.setdefault("parameters", []).extend(parameters)
    if route in _BODIES:
        media, schema = _BODIES[route]
        operation["requestBody"] = {"required": True, "content": {media: {"schema": schema}}}


def _call(contracts: list[Contract]) -> dict[str, Any]:
    return {
        "operationId": "call",
        "summary": "Ask for one call to one tool",
        "parameters": [
            _KEY,
            {
                "in": "header",
                "name": "X-Correlation-Id",
                "required": False,
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"oneOf": [_request(each) for each in contracts]}}},
        },
    }


def _request(contract: Contract) -> dict[str, Any]:
    is_write = contract.effect is not Effect.READ
    reason = {"enum": list(contract.reason_codes)} if contract.reason_codes else {"type": "string", "maxLength": 0}
    return {
        "type": "object",
        "title": contract.name,
        "additionalProperties": False,
        "required": ["tool", "arguments", *(["reason_code"] if is_write and contract.reason_codes else [])],
        "properties": {
            "tool": {"const": contract.name},
            "arguments": schemas.of_arguments(contract),
            "reason_code": reason,
            "approvals": _APPROVALS,
            "edits": {"type": "string", "pattern": "^call_[0-9a-f]{32}$"},
        },
    }


def _responses(operation: str) -> dict[str, Any]:
    problem = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    done = {"description": "done", "content": {"application/json": {"schema": {"type": "object"}}}}
    if operation.startswith("metrics"):
        done = {"description": "Prometheus exposition", "content": {"text/plain": {}}}
    if operation.startswith("export"):
        done = {"description": "the log as JSON lines", "content": {"application/jsonl": {}}}
    if operation.startswith("declaration"):
        done = {"description": "the declaration as it was uploaded", "content": {"application/yaml": {}}}
    statuses = ("400", "401", "403", "404", "408", "409", "413", "415", "421", "422", "429", "503", "504")
    return {
        "200": done,
        "201": done,
        "202": done,
        **{status: {"description": "refused; see `reason`", **problem} for status in statuses},
    }
