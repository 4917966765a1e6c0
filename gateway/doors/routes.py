"""Every route but the call itself: FastAPI's, each behind one guard that identifies, limits and answers faults.

Public are health, readiness, metrics, the newest checkpoint and the verification keys. A mutating route leaves an entry
whatever its answer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway import admission, autonomy, entries
from gateway.activation import Policies
from gateway.admission import call_id_of
from gateway.agents import Agents
from gateway.answers import Reply, receipt
from gateway.approving import Approving
from gateway.auditing import Auditing
from gateway.capacity import Capacity
from gateway.cataloguing import Cataloguing
from gateway.doors.access import AUDIT_ROLES, BUNDLE_ROLES, UPLOAD_ROLES, require_person
from gateway.doors.batches import Batches
from gateway.doors.exports import Export, Exports
from gateway.doors.messages import (
    Send,
    body,
    require_document,
    require_host,
    require_json,
    require_query,
    send_fault,
    send_reply,
)
from gateway.errors import BadRequest, Fault, NotFound, Unavailable
from gateway.evidence import Evidence
from gateway.explaining import Explaining
from gateway.identity import Principal
from gateway.inquiries import Inquiries
from gateway.ledger import SYSTEM, LedgerUnavailable, State
from gateway.lights import Lights
from gateway.logs import log
from gateway.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.redaction import Redactor
from gateway.refusals import Refusals
from gateway.requests import Incoming, single_headers
from gateway.settings import Settings
from gateway.undoing import Undoing
from gateway.uploads import Uploads
from gateway.waiting import WaitingRoom
from proofs.approvals import Verdict
from proofs.shapes import DIGEST, NAME

FEEDBACK_LENGTH_MAX = 2000  # Characters: a paragraph, not a report.
STATES = tuple(state.value for state in State if state is not State.REFUSED)  # A refused call has no row to list.


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What the routes open on; `app` constructs every one."""

    settings: Settings
    pipeline: Pipeline
    policies: Policies
    inquiries: Inquiries
    explaining: Explaining
    approving: Approving
    batches: Batches
    waiting: WaitingRoom
    undoing: Undoing
    auditing: Auditing
    cataloguing: Cataloguing
    agents: Agents
    evidence: Evidence
    uploads: Uploads
    refusals: Refusals
    redactor: Redactor
    lights: Lights
    metrics: Metrics
    capacity: Capacity
    ending: asyncio.Event
    """Set when the gateway was told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that passed the guard."""

    principal: Principal
    incoming: Incoming
    request: Request

    def call_id(self) -> Any:
        """The call of the path; 404 for text that is no call id, as for one that is unknown."""
        call_id = call_id_of(self.request.path_params["call"])
        if call_id is None:
            raise NotFound("unknown_call", "no call of this tenant")
        return call_id

    async def document(self) -> dict[str, Any]:
        """The body as an object of our profile."""
        return dict(admission.parse(await self.incoming.body()))

    def digest(self) -> str:
        """The digest of the path; the empty one, which nothing has, for text that is none."""
        text = self.request.path_params["digest"]
        return text if DIGEST.fullmatch(text) else ""

    async def nothing(self) -> None:
        """Raises `BadRequest` for a body that says anything: none is awaited here, and `{}` says nothing."""
        headers = self.incoming.headers
        is_there = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if is_there and await self.document():
            raise BadRequest("unknown_member", "expected no member", status=422)

    def number(self, name: str, *, maximum: int, default: int | None = None) -> int | None:
        """A natural number of the query."""
        text = self.request.query_params.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) > maximum:
            raise BadRequest("query_malformed", f"`{name}` must be a number of at most {maximum}", status=422)
        return int(text)


QUERIES = {
    "/v1/calls": frozenset({"state", "before_ms"}),
    "/v1/calls/{call}": frozenset({"wait"}),
    "/v1/agents": frozenset({"after"}),
    "/v1/audit/entries": frozenset({"after"}),
}
"""The members that a query may have, by path; those of all other guarded routes have none."""

Route = Callable[[Asked], Awaitable[Reply | Response]]


class Routes:
    """Builds the router."""

    def __init__(self, inside: Inside, description: Callable[[], bytes]) -> None:
        self._in = inside
        self._description = description
        self._hosts = frozenset(inside.settings.allowed_hosts)
        self._exports = Exports()

    def router(self) -> APIRouter:
        """Every route of the surface but `POST /v1/calls`."""
        router = APIRouter()
        routes: list[tuple[str, str, Route, int | None]] = [
            ("POST", "/v1/batches", self._batch, None),
            ("POST", "/v1/verdicts", self._verdicts, None),
            ("GET", "/v1/waiting", self._waiting, None),
            ("GET", "/v1/calls", self._calls, None),
            ("GET", "/v1/calls/{call}", self._call, None),
            ("GET", "/v1/calls/{call}/explanation", self._explanation, None),
            ("GET", "/v1/calls/{call}/packet", self._packet, None),
            ("POST", "/v1/calls/{call}/approvals", self._approve, None),
            ("POST", "/v1/calls/{call}/rejections", self._reject, None),
            ("POST", "/v1/calls/{call}/cancel", self._cancel, None),
            ("POST", "/v1/calls/{call}/undo", self._undo, None),
            ("POST", "/v1/calls/{call}/feedback", self._feedback, None),
            ("GET", "/v1/tools", self._tools, None),
            ("GET", "/v1/tools/{tool}", self._tool, None),
            ("POST", "/v1/tools", self._upload_tool, self._in.settings.bundle_bytes_max),
            ("GET", "/v1/agents", self._agents, None),
            ("GET", "/v1/agents/{agent}", self._agent, None),
            ("GET", "/v1/bundles", self._bundles, None),
            ("POST", "/v1/bundles", self._upload_bundle, self._in.settings.bundle_bytes_max),
            ("GET", "/v1/bundles/{digest}", self._bundle, None),
            ("GET", "/v1/certificates/{digest}", self._certificate, None),
            ("GET", "/v1/declarations/{digest}", self._declaration, None),
            ("GET", "/v1/audit/entries", self._entries, None),
            ("GET", "/v1/audit/export", self._export, None),
            ("GET", "/openapi.json", self._openapi, None),
        ]
        for method, path, route, bytes_max in routes:
            router.add_api_route(
                path,
                self._guarded(route, bytes_max, QUERIES.get(path, frozenset())),
                methods=[method],
                name=route.__name__.strip("_"),
            )
        for path, public in (
            ("/v1/audit/checkpoint", self._checkpoint),
            ("/v1/keys", self._keys),
            ("/healthz", self._healthz),
            ("/readyz", self._readyz),
            ("/metrics", self._metrics_text),
        ):
            router.add_api_route(path, self._open(public), methods=["GET"], name=public.__name__.strip("_"))
        return router

    def _guarded(
        self, route: Route, bytes_max: int | None, query: frozenset[str]
    ) -> Callable[[Request], Awaitable[Response]]:
        limit = bytes_max or self._in.settings.body_bytes_max

        async def guarded(request: Request) -> Response:
            incoming = Incoming(headers={}, body=_empty)
            try:
                incoming.headers = headers = single_headers(request.scope["headers"])
                require_host(headers, self._hosts)
                principal = await self._in.pipeline.enter(incoming)
                require_query(request.scope["query_string"], query)

                async def read() -> bytes:
                    (require_json if bytes_max is None else require_document)(headers)
                    return await body(
                        headers,
                        request.receive,
                        bytes_max=limit,
                        seconds_max=self._in.settings.body_seconds_max,
                    )

                incoming.body = read
                with self._in.capacity.place(principal):
                    answer = await route(Asked(principal=principal, incoming=incoming, request=request))
                if isinstance(answer, Response):
                    return answer
                self._in.metrics.answered(answer.status, "")
                return _Answer(lambda send: send_reply(send, answer))
            except Fault as fault:
                return self._faulted(fault, incoming)
            except LedgerUnavailable:
                return self._faulted(Unavailable("ledger_unavailable", "the ledger cannot answer"), incoming)
            except Exception as error:  # noqa: BLE001 - the outermost loop of these routes
                log().error("request_failed", error=error)
                return self._faulted(Unavailable("internal", "the log has the details"), incoming)

        return guarded

    def _open(
        self, route: Callable[[Request], Awaitable[Response | Reply]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def opened(request: Request) -> Response:
            try:
                require_host(single_headers(request.scope["headers"]), self._hosts)
                answer = await route(request)
            except Fault as fault:
                problem = fault
                return _Answer(lambda send: send_fault(send, problem))
            except LedgerUnavailable:
                return _Answer(lambda send: send_fault(send, Unavailable("ledger_unavailable", "cannot be read")))
            except Exception as error:  # noqa: BLE001 - the outermost loop of these routes
                log().error("request_failed", error=error)
                return _Answer(lambda send: send_fault(send, Unavailable("internal", "the log has the details")))
            return answer if isinstance(answer, Response) else _Answer(lambda send: send_reply(send, answer))

        return opened

    def _faulted(self, fault: Fault, incoming: Incoming) -> Response:
        self._in.metrics.answered(fault.status, fault.reason)
        if "entry" not in fault.members:
            principal = incoming.principal
            policies, tool = self._in.policies, incoming.tool
            strikes = () if principal is None else autonomy.at_the_door(policies, principal, tool, fault.reason)
            self._in.lights.note(
                entries.note(
                    principal.tenant if principal else SYSTEM,
                    fault.reason,
                    principal=principal.reference if principal else None,
                    # Never the id of the path, which may be anybody's, or nobody's.
                    call=call_id_of(fault.members.get("call")),
                    strikes=strikes,
                )
            )
        return _Answer(lambda send: send_fault(send, fault))

    async def _batch(self, asked: Asked) -> Reply:
        return await self._in.batches.calls(asked.incoming)

    async def _verdicts(self, asked: Asked) -> Reply:
        require_person(asked.principal)
        return await self._in.batches.verdicts(asked.incoming)

    async def _waiting(self, asked: Asked) -> Reply:
        return await self._in.waiting.groups(asked.principal)

    async def _calls(self, asked: Asked) -> Reply:
        state = asked.request.query_params.get("state")
        if state is not None and state not in STATES:
            raise BadRequest("query_malformed", f"`state` must be one of: {', '.join(STATES)}", status=422)
        before = asked.number("before_ms", maximum=10**14)
        return await self._in.inquiries.calls(asked.principal, state=state, before_ms=before)

    async def _call(self, asked: Asked) -> Reply:
        wait = asked.number("wait", maximum=self._in.settings.wait_seconds_max, default=0) or 0
        return await self._in.inquiries.call(asked.principal, asked.call_id(), wait_seconds=wait)

    async def _explanation(self, asked: Asked) -> Reply:
        return await self._in.explaining.call(asked.principal, asked.call_id())

    async def _packet(self, asked: Asked) -> Reply:
        require_person(asked.principal, AUDIT_ROLES)
        return await self._in.evidence.packet(asked.principal.tenant, asked.call_id())

    async def _approve(self, asked: Asked) -> Reply:
        require_person(asked.principal)
        return await self._in.approving.give(asked.principal, asked.call_id(), await asked.document(), Verdict.APPROVE)

    async def _reject(self, asked: Asked) -> Reply:
        require_person(asked.principal)
        return await self._in.approving.give(asked.principal, asked.call_id(), await asked.document(), Verdict.REJECT)

    async def _cancel(self, asked: Asked) -> Reply:
        await asked.nothing()
        return await self._in.approving.cancel(asked.principal, asked.call_id())

    async def _undo(self, asked: Asked) -> Reply:
        return await self._in.undoing.undo(asked.incoming, asked.principal, asked.call_id())

    async def _feedback(self, asked: Asked) -> Reply:
        document = await asked.document()
        text = document.get("text")
        if set(document) != {"text"} or not isinstance(text, str) or not 0 < len(text) <= FEEDBACK_LENGTH_MAX:
            raise BadRequest("feedback_malformed", f"`text` of at most {FEEDBACK_LENGTH_MAX} characters", status=422)
        principal, call_id = asked.principal, asked.call_id()
        await self._in.inquiries.require_room(principal, call_id)
        said = {"text": self._in.redactor.text(text, tenant=principal.tenant)}
        entry = entries.feedback(principal.reference, principal.tenant, call_id, said)
        placed = await self._in.refusals.append(entry)
        return Reply(status=201, document={"entry": placed.seq, "receipt": receipt(placed)})

    async def _tools(self, asked: Asked) -> Reply:
        return self._in.cataloguing.tools(asked.principal)

    async def _tool(self, asked: Asked) -> Reply:
        return self._in.cataloguing.tool(asked.principal, asked.request.path_params["tool"])

    async def _agents(self, asked: Asked) -> Reply:
        after = asked.request.query_params.get("after", "")
        if after and not NAME.fullmatch(after):
            raise BadRequest("query_malformed", "`after` must be the name of an agent", status=422)
        return await self._in.agents.all(asked.principal, after)

    async def _agent(self, asked: Asked) -> Reply:
        return await self._in.agents.one(asked.principal, asked.request.path_params["agent"])

    async def _upload_tool(self, asked: Asked) -> Reply:
        require_person(asked.principal, UPLOAD_ROLES)
        return await self._in.uploads.tool(asked.principal, await asked.incoming.body())

    async def _bundles(self, asked: Asked) -> Reply:
        require_person(asked.principal, BUNDLE_ROLES)
        return await self._in.uploads.bundles(asked.principal)

    async def _upload_bundle(self, asked: Asked) -> Reply:
        require_person(asked.principal, UPLOAD_ROLES)
        return await self._in.uploads.bundle(asked.principal, await asked.incoming.body())

    async def _bundle(self, asked: Asked) -> Response:
        require_person(asked.principal, BUNDLE_ROLES)
        return _stored(await self._in.evidence.bundle(asked.principal.tenant, asked.digest()))

    async def _certificate(self, asked: Asked) -> Response:
        require_person(asked.principal, BUNDLE_ROLES)
        return _stored(await self._in.evidence.certificate(asked.principal.tenant, asked.digest()))

    async def _declaration(self, asked: Asked) -> Response:
        require_person(asked.principal, BUNDLE_ROLES)
        found = await self._in.evidence.declaration(asked.principal.tenant, asked.digest())
        return _stored(found, "application/yaml")

    async def _entries(self, asked: Asked) -> Reply:
        require_person(asked.principal, AUDIT_ROLES)
        after = asked.number("after", maximum=2**53 - 1, default=0) or 0
        return await self._in.auditing.entries(asked.principal.tenant, after)

    async def _export(self, asked: Asked) -> Response:
        require_person(asked.principal, AUDIT_ROLES)
        tenant = asked.principal.tenant
        with ExitStack() as leaving:
            leaving.enter_context(self._exports.place(tenant))
            return Export(tenant, await self._in.auditing.export(tenant), leaving.pop_all())

    async def _openapi(self, asked: Asked) -> Reply:
        return Reply(status=200, document={}, content=self._description())

    async def _checkpoint(self, request: Request) -> Reply:
        require_query(request.scope["query_string"], frozenset({"tenant"}))
        return await self._in.auditing.checkpoint(request.query_params.get("tenant", ""))

    async def _keys(self, request: Request) -> Reply:
        return await self._in.auditing.keys()

    async def _healthz(self, request: Request) -> Reply:
        return Reply(status=200, document={"status": "ok"})

    async def _readyz(self, request: Request) -> Reply:
        if self._in.ending.is_set():
            raise Unavailable("not_ready", "the gateway was told to end")
        if not self._in.policies.is_ready():
            raise Unavailable("not_ready", "no bundle in force that is proved, not expired and the newest")
        if not self._in.policies.can_decide():
            raise Unavailable("not_ready", "a policy engine does not answer")
        if not await self._in.auditing.can_record():
            raise Unavailable("not_ready", "the ledger cannot be read")
        return Reply(status=200, document={"status": "ready"})

    async def _metrics_text(self, request: Request) -> Response:
        return Response(self._in.metrics.text(), media_type="text/plain; version=0.0.4")


def _stored(content: bytes, media_type: str = "application/json") -> Response:
    """Bytes as they were stored: what was signed, or digested, is checked as it is."""
    return Response(content, media_type=media_type, headers={"Cache-Control": "no-store"})


class _Answer(Response):
    """A response that one of our senders writes."""

    def __init__(self, write: Callable[[Send], Awaitable[None]]) -> None:
        super().__init__()
        self._write = write

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._write(send)


async def unrouted(request: Request, error: Exception) -> Response:
    """What no route takes, as a problem document: 404, or 405 with the methods that there are."""
    status = getattr(error, "status_code", 404)
    headers = dict(getattr(error, "headers", None) or {})
    reason = "method_not_allowed" if status == 405 else "not_found"
    fault = BadRequest(reason, status=status)
    fault.headers |= headers
    return _Answer(lambda send: send_fault(send, fault))


async def _empty() -> bytes:
    return b""
