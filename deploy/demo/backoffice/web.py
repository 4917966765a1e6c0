"""The routes.

`POST /operations/{tool}` · `GET /operations/{effect_id}` · `GET /facts/{group}/{path}` · `POST /facts/copy` ·
`GET /views/{tool}?argument=` · `GET /state/{table}?column=&limit=` · `GET /healthz` · with `--faults`: `POST /faults`.

A definite refusal is `{"refused": true, "reason": …}`, with 400, 404, 409, 413 or 422: this request changed nothing.
Everything else that is not 200 leaves open what happened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.demo.backoffice import facts, faults, requests, state, views
from deploy.demo.backoffice.connections import CommitUnknown, Pool, read_again
from deploy.demo.backoffice.effects import Applied, Effects, Refusal, Refused, Unavailable, text
from deploy.demo.backoffice.journal import JournalUnusable
from deploy.demo.backoffice.operations import OPERATIONS

HOSTS = ["127.0.0.1", "localhost"]  # Any other name in `Host` is a page that was led here by its own name server.

Endpoint = Callable[[Request], Awaitable[Response]]


def build(*, pool: Pool, effects: Effects, switches: faults.Faults | None) -> Starlette:
    """The application; `switches` is None unless faults may be asked for."""
    routes = _Routes(pool=pool, effects=effects, switches=switches or faults.Faults())
    table: list[tuple[str, str, Endpoint]] = [
        ("POST", "/operations/{tool}", routes.operate),
        ("GET", "/operations/{effect_id}", routes.find),
        ("POST", "/facts/copy", routes.copy_facts),
        ("GET", "/facts/{group}/{path:path}", routes.facts),
        ("GET", "/views/{tool}", routes.view),
        ("GET", "/state/{table}", routes.state),
        ("GET", "/healthz", routes.health),
    ]
    if switches is not None:
        table.append(("POST", "/faults", routes.switch))
    return Starlette(
        routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in table],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
        exception_handlers={
            Refusal: _refuse,
            Unavailable: _unavailable,
            JournalUnusable: _unavailable,
            CommitUnknown: _unavailable,
            psycopg.OperationalError: _unavailable,
            # A value that no column can hold; the transaction it came up in is gone.
            psycopg.DataError: _refuse_data,
        },
    )


class _Routes:
    def __init__(self, *, pool: Pool, effects: Effects, switches: faults.Faults) -> None:
        self._pool = pool
        self._effects = effects
        self._switches = switches

    async def operate(self, request: Request) -> Response:
        tool = request.path_params["tool"]
        if tool not in OPERATIONS:
            raise Refusal("unknown_tool", status=404)
        fault = self._switches.take(tool)
        await faults.before(fault)
        answer = await self._effects.apply(await requests.instruction_of(request, tool))
        if isinstance(answer, Applied):
            return await faults.after(fault, _json(answer.result))
        return await faults.after(fault, _refusal(answer.reason, answer.status))

    async def find(self, request: Request) -> Response:
        fault = self._switches.take("operations/status")
        await faults.before(fault)
        found = await self._effects.find(
            request.path_params["effect_id"], tenant=requests.tenant_of(request), fence=requests.fence_of(request)
        )
        if isinstance(found, Applied):
            answer = _json(f'{{"result":{found.result},"state":"applied"}}')
        elif isinstance(found, Refused):
            answer = _json(text({"state": "refused", "reason": found.reason}))
        else:
            answer = _json(text({"state": "not_applied"}))
        return await faults.after(fault, answer)

    async def facts(self, request: Request) -> Response:
        group, path = request.path_params["group"], request.path_params["path"].split("/")
        tenant = requests.tenant_of(request)
        return await self._answer_facts(group, lambda: facts.read(self._pool, tenant=tenant, group=group, path=path))

    async def copy_facts(self, request: Request) -> Response:
        tenant = requests.tenant_of(request)
        title, body = await requests.copy_of(request)
        return await self._answer_facts(
            "copy", lambda: facts.read_copy(self._pool, tenant=tenant, title=title, body=body)
        )

    async def view(self, request: Request) -> Response:
        tool = request.path_params["tool"]
        pairs = request.query_params.multi_items()
        if len(dict(pairs)) != len(pairs):
            raise Refusal("malformed_arguments", status=422)
        fault = self._switches.take(f"views/{tool}")
        await faults.before(fault)
        tenant = requests.tenant_of(request)
        result = await read_again(lambda: views.read(self._pool, tenant=tenant, tool=tool, arguments=dict(pairs)))
        return await faults.after(fault, _json(text(result)))

    async def state(self, request: Request) -> Response:
        tenant, table = requests.tenant_of(request), request.path_params["table"]
        wanted = dict(request.query_params)
        rows = await read_again(lambda: state.read(self._pool, tenant=tenant, table=table, wanted=wanted))
        return _json(text(rows))

    async def switch(self, request: Request) -> Response:
        self._switches.switch(await requests.read_json(request))
        return _json("{}")

    async def health(self, request: Request) -> Response:
        async with self._pool.transaction() as cursor:
            await cursor.execute("select 1")
        return _json('{"ok":true}')

    async def _answer_facts(self, group: str, read: Callable[[], Awaitable[dict[str, Any]]]) -> Response:
        fault = self._switches.take(f"facts/{group}")
        await faults.before(fault)
        answer = await read_again(read)
        if fault is not None and fault.mode is faults.Mode.STALE:
            answer["at_ms"] -= int(fault.seconds * 1000)
        return await faults.after(fault, _json(text(answer)))


def _json(body: str, status: int = 200) -> Response:
    return Response(body.encode(), status_code=status, media_type="application/json")


def _refusal(reason: str, status: int) -> Response:
    return _json(text({"refused": True, "reason": reason}), status)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - registered for this class only
    return _refusal(error.reason, error.status)


async def _refuse_data(request: Request, error: Exception) -> Response:
    return _refusal("malformed_arguments", 422)


async def _unavailable(request: Request, error: Exception) -> Response:
    return _json(text({"error": "unavailable"}), 503)
