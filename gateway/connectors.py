"""The hands of the gateway: how a tool, a fact source or a status query is reached, and what its answer proves.

Only three things are believed of a tool: a result in the declared shape, a definite refusal in the declared form, and
that a connection which was never made carried nothing. Everything else leaves the outcome unknown.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2
import orjson
from msgspec import Struct

from gateway.encoding import encode
from gateway.errors import Misconfigured, NotFound, Unavailable
from gateway.ledger import State
from gateway.lookups import LookUps, Resolve, resolve
from gateway.origins import Transport
from gateway.tokens import NOTHING, Resolved
from gateway.tools import PreparedTool, fill_path
from proofs import canonical
from tool_registry.contracts import Connector
from tool_registry.shapes import ContractViolation

# A larger answer is no answer that a receipt could commit to; all of it is read, and redacted, while others wait.
ANSWER_BYTES_MAX = 128 * 1024
READ_SECONDS = 1.2  # Facts and views: a slow source must not hold a call longer than a dead one.
CONNECTIONS_MAX = 640  # Every call in flight may wait for a tool: one that hangs must not keep others from theirs.
IDLE_MAX = 64
_REASON = re.compile(r"[a-z]+(?:_[a-z]+)*(?:_[0-9]{1,4})?")


class Dispatch(Struct, frozen=True, kw_only=True):
    """One attempt to cause one effect."""

    tenant: str
    tool: PreparedTool
    canonical: bytes
    """The canonical call: the arguments sent are read from these bytes."""
    effect_id: str
    fence: int
    deadline_at_ms: int
    correlation: str
    resolved: Resolved = NOTHING
    """What goes into the body in the place of tokens, and nowhere else."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What is known after an attempt."""

    state: State
    """executed, failed, not_done or in_doubt."""
    result: Mapping[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A raw answer of a source."""

    status: int
    document: Any


class Unreached(Exception):
    """No byte of the request left us."""


class NoAnswer(Exception):
    """The request may have arrived; what came back proves nothing."""


class ToolConnector(Protocol):
    """Reaches tools of one connector kind."""

    async def execute(self, dispatch: Dispatch) -> Outcome:
        """Cause the effect once, and say what is known. Never raises for a fault of the tool."""

    async def status(self, dispatch: Dispatch) -> Outcome | None:
        """What the tool says became of the effect; None where it has no such query or does not answer."""

    async def view(self, tenant: str, tool: PreparedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of a read tool. Raises `Unavailable`, and `NotFound` where the source knows no such thing."""


class HttpConnector:
    """Tools over HTTP, at origins that the settings name."""

    def __init__(
        self, origins: Mapping[str, str], loopback_origins: tuple[str, ...], *, resolve: Resolve = resolve
    ) -> None:
        self._origins = dict(origins)
        self._loopback = frozenset(loopback_origins)
        # trust_env: a proxy variable must not send governed calls elsewhere. Redirects are never followed.
        self._client = httpx2.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            transport=Transport(
                httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=IDLE_MAX), LookUps(resolve)
            ),
        )

    def admits(self, connector: Connector) -> bool:
        """Whether the connector's origin may be reached at all."""
        return connector.origin in self._origins or connector.origin in self._loopback

    async def execute(self, dispatch: Dispatch) -> Outcome:
        contract = dispatch.tool.contract
        call = orjson.loads(dispatch.canonical)
        path = fill_path(contract.connector.path, {**call["arguments"], "effect_id": dispatch.effect_id})
        arguments = dispatch.resolved.into(call["arguments"])
        body = encode({"arguments": arguments, "reason_code": call["reason_code"]})
        try:
            reply = await self._request(
                contract.connector,
                contract.connector.method,
                path,
                content=body,
                headers=_effect_headers(dispatch),
                seconds=contract.deadline_ms / 1000,
            )
        except Unreached:
            return Outcome(state=State.NOT_DONE, reason="tool_unreachable")
        except NoAnswer as error:
            return Outcome(state=State.IN_DOUBT, reason=str(error))
        return _judge(dispatch.tool, reply)

    async def status(self, dispatch: Dispatch) -> Outcome | None:
        contract = dispatch.tool.contract
        if contract.status_path is None:
            return None
        path = fill_path(contract.status_path, {"effect_id": dispatch.effect_id})
        # The fence goes along: a fenced tool refuses every lower one from now on, so `not_applied` stays true.
        headers = {
            "Lockgate-Tenant": dispatch.tenant,
            "Lockgate-Fence": str(dispatch.fence),
            "X-Correlation-Id": dispatch.correlation,
        }
        try:
            reply = await self._request(contract.connector, "GET", path, headers=headers, seconds=READ_SECONDS)
        except (Unreached, NoAnswer):
            return None
        if reply.status != 200 or not isinstance(reply.document, dict):
            return None
        return _judge_status(dispatch.tool, reply.document)

    async def view(self, tenant: str, tool: PreparedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        connector = tool.contract.connector
        reply = await self._read(tenant, connector, connector.method, connector.path, arguments)
        if reply.status == 404:
            raise NotFound("unknown_subject", "the source knows nothing of that id")
        if reply.status != 200 or not isinstance(reply.document, dict):
            raise Unavailable("source_unreachable", "the view did not answer")
        return reply.document

    async def fact(
        self, tenant: str, connector: Connector, method: str, path: str, arguments: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """One fact group `{at_ms, facts}`; None for 404. Raises `Unavailable`."""
        reply = await self._read(tenant, connector, method, fill_path(path, arguments), arguments)
        if reply.status == 404:
            return None
        if reply.status != 200 or not isinstance(reply.document, dict):
            raise Unavailable("source_unreachable", "the fact source did not answer")
        return reply.document

    async def close(self) -> None:
        await self._client.aclose()

    async def _read(
        self, tenant: str, connector: Connector, method: str, path: str, arguments: Mapping[str, Any]
    ) -> Reply:
        headers = {"Lockgate-Tenant": tenant}
        given: dict[str, Any] = {"params": {name: str(value) for name, value in arguments.items()}}
        if method == "POST":
            given = {"content": encode({"arguments": dict(arguments)})}
        elif "/facts/" in path:
            given = {}
        try:
            return await self._request(connector, method, path, headers=headers, seconds=READ_SECONDS, **given)
        except (Unreached, NoAnswer) as error:
            raise Unavailable("source_unreachable", "the source did not answer") from error

    async def _request(
        self, connector: Connector, method: str, path: str, *, headers: Mapping[str, str], seconds: float, **given: Any
    ) -> Reply:
        if not self.admits(connector):
            raise Unreached("the origin is not admitted")
        url = self._origins.get(connector.origin, connector.origin) + path
        given |= {"headers": {"Content-Type": "application/json", **headers}, "timeout": seconds}
        departure = _Departure()
        try:
            async with asyncio.timeout(seconds):
                async with self._client.stream(method, url, extensions={"trace": departure}, **given) as response:
                    return Reply(status=response.status_code, document=await _document(response))
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise Unreached("no connection") from error
        except TimeoutError as error:
            if not departure.has_begun:
                raise Unreached("deadline passed before anything was sent") from error
            raise NoAnswer("deadline passed") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise NoAnswer("no readable answer") from error


class _Departure:
    """Whether bytes of one request may have left us, as the HTTP library traces it."""

    def __init__(self) -> None:
        self.has_begun = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        self.has_begun = self.has_begun or event.endswith(".send_request_headers.started")


class LocalConnector:
    """Tools in process: plain coroutines, for the bench and for embedding."""

    def __init__(self, functions: Mapping[str, Callable[[Dispatch], Awaitable[Mapping[str, Any]]]]) -> None:
        self._functions = functions

    async def execute(self, dispatch: Dispatch) -> Outcome:
        function = self._functions.get(dispatch.tool.contract.connector.act)
        if function is None:
            return Outcome(state=State.NOT_DONE, reason="tool_unreachable")
        return Outcome(state=State.EXECUTED, result=await function(dispatch))

    async def status(self, dispatch: Dispatch) -> Outcome | None:
        return None

    async def view(self, tenant: str, tool: PreparedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Unavailable("source_unreachable", "the tool is no view")


def _effect_headers(dispatch: Dispatch) -> dict[str, str]:
    return {
        "Idempotency-Key": dispatch.effect_id,
        "Lockgate-Effect-Id": dispatch.effect_id,
        "Lockgate-Tenant": dispatch.tenant,
        "Lockgate-Fence": str(dispatch.fence),
        "Lockgate-Deadline": str(dispatch.deadline_at_ms),
        "X-Correlation-Id": dispatch.correlation,
    }


async def _document(response: httpx2.Response) -> Any:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise ValueError("the answer is too long")
    try:
        return canonical.parse(bytes(body))
    except (canonical.Malformed, canonical.OutsideProfile) as error:
        raise ValueError("the answer is no JSON of our profile") from error


def _judge(tool: PreparedTool, reply: Reply) -> Outcome:
    document = reply.document
    if 200 <= reply.status < 300:
        return _executed(tool, document)
    if 400 <= reply.status < 500 and isinstance(document, dict) and document.get("refused") is True:
        return Outcome(state=State.FAILED, reason=_reason(tool, document))
    return Outcome(state=State.IN_DOUBT, reason=f"status {reply.status} without a definite refusal")


def _executed(tool: PreparedTool, document: Any) -> Outcome:
    try:
        tool.result.check(document)
    except ContractViolation:
        return Outcome(state=State.IN_DOUBT, reason="the result has another shape than declared")
    return Outcome(state=State.EXECUTED, result=document)


def _judge_status(tool: PreparedTool, document: Mapping[str, Any]) -> Outcome | None:
    match document.get("state"):
        case "applied":
            outcome = _executed(tool, document.get("result"))
            return outcome if outcome.state is State.EXECUTED else None
        case "refused":
            return Outcome(state=State.FAILED, reason=_reason(tool, document))
        case "not_applied":
            return Outcome(state=State.NOT_DONE, reason="not_applied")
        case _:
            return None


def _reason(tool: PreparedTool, document: Mapping[str, Any]) -> str:
    """
    The tool's word for its refusal, where it is one: small letters, and a short number at most at its end.

    It stands in an entry that nobody can erase, so a tool that is given what tokens stand for has no word at all.
    """
    reason = document.get("reason")
    if tool.resolving or not isinstance(reason, str) or len(reason) > 64 or not _REASON.fullmatch(reason):
        return "tool_refused"
    return reason


def by_kind(http: HttpConnector, ledger: ToolConnector, local: LocalConnector) -> Callable[[Connector], ToolConnector]:
    """The connector of a contract. Raises `Misconfigured` for a kind that nothing here reaches."""
    kinds: dict[str, ToolConnector] = {"http": http, "ledger": ledger, "local": local}

    def connector(described: Connector) -> ToolConnector:
        found = kinds.get(described.kind)
        if found is None:
            raise Misconfigured("a contract names a connector kind that does not exist")
        return found

    return connector
