"""Public routes: what nobody foresaw is 503 with a reason there too, never a bare 500."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any, cast

from fastapi import Request
from starlette.responses import Response

from gateway.activation import Policies
from gateway.documents import Description
from gateway.doors.routes import Inside, Routes
from tests.world import surface
from tool_registry.registry import load_catalogue


async def broken(request: Request) -> Response:
    raise RuntimeError("a secret of the inside")


def test_a_fault_that_nobody_foresaw_is_503_internal() -> None:
    """
    No public route answers 500, and none tells what went wrong inside.
    """
    inside = cast(Inside, SimpleNamespace(settings=SimpleNamespace(allowed_hosts=["localhost"])))
    scope = {"type": "http", "method": "GET", "path": "/readyz", "headers": [(b"host", b"localhost")]}
    sent: list[MutableMapping[str, Any]] = []

    async def story() -> None:
        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        answer = await Routes(inside, bytes)._open(broken)(Request(scope))
        await answer(scope, cast(Any, None), send)

    asyncio.run(story())

    body = b"".join(message.get("body", b"") for message in sent)
    assert sent[0]["status"] == 503
    assert json.loads(body)["reason"] == "internal"
    assert b"secret" not in body


def test_the_document_is_written_once_for_the_tools_in_force() -> None:
    """
    Asking for the OpenAPI document costs no more than its bytes, until other tools are in force.
    """
    tools = {name: SimpleNamespace(contract=contract) for name, contract in load_catalogue().contracts.items()}
    policies = SimpleNamespace(active=lambda _: SimpleNamespace(tools=tools))
    description = Description(surface.assembled(), cast(Policies, policies))

    first, again = description.content(), description.content()
    tools = {"issue_refund": tools["issue_refund"]}
    later = description.content()

    assert again is first
    assert b"get_order" in first
    assert b"get_order" not in later
