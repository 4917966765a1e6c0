"""The routes and the OpenAPI document of the app as it is wired, read from the router and not from a page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI

from gateway import app as wiring
from tool_registry.registry import load_catalogue

PUBLIC = {"/healthz", "/readyz", "/metrics", "/v1/keys", "/v1/audit/checkpoint"}
"""What anybody may ask without a token: docs/http.md."""

READING = {"GET", "HEAD", "OPTIONS"}


@cache
def assembled() -> FastAPI:
    """The router's app with nothing behind it; good for looking, not for asking."""
    settings = SimpleNamespace(allowed_hosts=[], bundle_bytes_max=1, body_bytes_max=1)
    inside = SimpleNamespace(settings=settings)
    tools = {name: SimpleNamespace(contract=contract) for name, contract in load_catalogue().contracts.items()}
    policies = SimpleNamespace(active=lambda _: SimpleNamespace(tools=tools))
    return wiring._app(cast(Any, None), cast(Any, inside), cast(Any, policies))


def routes() -> list[tuple[str, str]]:
    """(method, path template) of every route that the router knows."""
    return sorted({(method, route.path) for route in _all(assembled().router) for method in route.methods})


def described() -> list[tuple[str, str]]:
    """(method, path template) of everything that the OpenAPI document describes."""
    paths = assembled().openapi()["paths"]
    return sorted({(method.upper(), path) for path, item in paths.items() for method in item})


def guarded() -> list[tuple[str, str]]:
    """Every route but the public ones."""
    return [(method, path) for method, path in sorted({*routes(), *described()}) if path not in PUBLIC]


def mutating() -> list[tuple[str, str]]:
    """Every route that may change something."""
    return [(method, path) for method, path in routes() if method not in READING]


def filled(path: str) -> str:
    """A template with made-up ids."""
    made_up = {
        "{call}": "call_" + "0" * 32,
        "{tool}": "issue_refund",
        "{agent}": "agent-nobody",
        "{digest}": "sha256:" + "0" * 64,
    }
    for name, value in made_up.items():
        path = path.replace(name, value)
    return path


def _all(router: Any) -> Iterator[Any]:
    for each in router.routes:
        included = getattr(each, "original_router", None)  # FastAPI keeps an included router whole.
        if included is None:
            yield each
        else:
            yield from _all(included)
