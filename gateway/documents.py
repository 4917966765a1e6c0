"""The OpenAPI document: FastAPI's own for the plain routes, and the call route from the registry.

The call route is no FastAPI route, so that nothing documentary can ever run; its description is written here, with one
alternative per tool, integers only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from gateway.activation import SYSTEM, Policies
from gateway.admission import APPROVALS_MAX
from gateway.doors.front import CALLS
from tool_registry import schemas
from tool_registry.contracts import Contract, Effect

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
    for item in document["paths"].values():
        for operation in item.values():
            operation["responses"] = _responses(operation.get("operationId", ""))
    return document


def _call(contracts: list[Contract]) -> dict[str, Any]:
    header = {"in": "header", "schema": {"type": "string", "minLength": 2, "maxLength": 255, "pattern": "^[!-~]+$"}}
    return {
        "operationId": "call",
        "summary": "Ask for one call to one tool",
        "parameters": [
            {**header, "name": "Idempotency-Key", "required": True},
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
            "approvals": {
                "type": "array",
                "maxItems": APPROVALS_MAX,
                "items": {"type": "string", "pattern": "^appr_[0-9a-f]{32}$"},
            },
        },
    }


def _responses(operation: str) -> dict[str, Any]:
    problem = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    done = {"description": "done", "content": {"application/json": {"schema": {"type": "object"}}}}
    if operation.startswith("metrics"):
        done = {"description": "Prometheus exposition", "content": {"text/plain": {}}}
    if operation.startswith("export"):
        done = {"description": "the log as JSON lines", "content": {"application/jsonl": {}}}
    statuses = ("400", "401", "403", "404", "408", "409", "413", "415", "421", "422", "429", "503", "504")
    return {
        "200": done,
        "201": done,
        "202": done,
        **{status: {"description": "refused; see `reason`", **problem} for status in statuses},
    }
