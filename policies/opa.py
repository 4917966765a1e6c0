"""Rego on an OPA server, where one is configured; `opa_http` carries it.

The gateway verifies a bundle before the server sees any of it; the server evaluates and is asked for nothing else.
What each bundle needs lies under names that its content gives, so that revisions stand side by side:

    data    lockgate/content/<id>   the bundle's digest and its data
    policy  lockgate/rules/<id>     its module, moved into a package of its own, and one rule more, the only one that is
                                    asked for: the digest, and the decision if there is one

An answer counts when it has exactly that shape, names the bundle that was asked about, and came from a server that was
examined: of an admitted version, configured to reach nobody. A server that has not got the bundle (it was restarted,
or is another one) is given it again. Down, slow, or anything else: `EngineUnavailable`, and the next question tries
anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from opa_client.errors import DeleteDataError, DeletePolicyError, RegoParseError

from policies import rego_answers, rego_source
from policies.errors import EngineUnavailable, PolicyFault
from policies.opa_http import Client, EvaluationFailed
from policies.rego_answers import FAILED, MISSHAPEN, UNDEFINED, RegoAnswer, RegoRules
from proofs import canonical

OLDEST = (1, 21, 3)
"""The first version that this was checked with; older ones have known faults."""
_IN_FLIGHT_MAX = 512  # At a millisecond or two each, more would wait longer than the deadline.
_BUILD_SECONDS_MAX = 5.0
_PROBE_SECONDS = 1.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
# Services, bundles, plugins, discovery, decision logs, status reports, tracing: all would make the server reach out,
# or let somebody else decide what it evaluates.
_CONFIGURED = frozenset({"labels", "default_decision", "default_authorization_decision"})
_ANSWER = """

{name} := {{
	"bundle": data.lockgate.content.{id}.bundle,
	"decisions": [found | found := data.lockgate.rules.{id}.decision],
}}
"""


@dataclass(slots=True, eq=False)
class _Loaded:
    """A bundle that may be asked about, whether or not the server has it now."""

    name: str
    rules: RegoRules
    id: str
    module: str
    given: int = 0
    """How often it was given: whoever found it missing sees whether somebody else has helped."""
    giving: asyncio.Task[None] | None = field(default=None, repr=False)


class OpaServer:
    """One server by its origin. Belongs to one event loop."""

    def __init__(
        self,
        origin: str,
        token: str | None = None,
        *,
        deadline_seconds: float = 1.0,
        on_change: Callable[[str | None], None] = lambda trouble: None,
    ) -> None:
        """
        `on_change` is told why the server cannot be used, once, and None when it can be again.

        Raises `ValueError` for an origin that is none, or whose connection others could read.
        """
        self._parts = origin_parts(origin)
        self._token = token
        self._deadline = deadline_seconds
        self._on_change = on_change
        self._trouble: str | None = None
        self._bundles: dict[str, _Loaded] = {}
        self._in_flight = 0
        self._client: Client | None = None
        self._examined = -1
        """The number of connections made when the server was last found good; a new one may lead to another server."""
        self._examining: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> frozenset[str]:
        """The bundles that can be asked about."""
        return frozenset(self._bundles)

    @property
    def is_answering(self) -> bool:
        """Whether the last thing that it was asked was answered. After a no it is asked again every second."""
        return self._trouble is None

    async def start(self) -> None:
        """Be ready to ask. A server that is down now may come up later."""
        host, port, is_tls = self._parts
        client = Client(host=host, port=port, ssl=is_tls, token=self._token, retries=0, timeout=_BUILD_SECONDS_MAX)
        self._client = await client.__aenter__()

    async def close(self) -> None:
        """Take back what this gateway gave, if the server still listens, and end."""
        if self._trouble is None:
            for name in self.loaded:
                await self.drop(name)
        if self._client is not None:
            await self._client.close_connection()
            self._client = None
        if self._probing is not None:  # Last: what was taken back in vain began to probe too.
            self._probing.cancel()

    async def reach(self) -> None:
        """Raise `EngineUnavailable` unless an admissible server answers now."""
        async with self._within(self._deadline):
            await self._examine()

    async def load(self, name: str, rules: RegoRules) -> None:
        """
        Give a bundle to the server, so that `ask` can name it.

        A server that cannot be used now is given it when it is asked. Raises `PolicyFault` when the module does not
        build there, or holds what no engine is given: then it is not kept.
        """
        if name in self._bundles:
            return
        if found := rego_source.faults(rules.module):
            raise PolicyFault(found[0])
        loaded = _loaded(name, rules)
        with suppress(EngineUnavailable):
            async with self._within(_BUILD_SECONDS_MAX):
                await self._examine()
                await self._give(loaded)
        self._bundles[name] = loaded

    async def drop(self, name: str) -> None:
        """Forget a bundle that is no longer asked about."""
        loaded = self._bundles.pop(name, None)
        if loaded is None:
            return
        with suppress(EngineUnavailable):  # A server that is gone has forgotten it too.
            async with self._within(self._deadline):
                with suppress(DeletePolicyError):
                    await self._opened.delete_policy(f"lockgate/rules/{loaded.id}")
                with suppress(DeleteDataError):
                    await self._opened.delete_data(f"lockgate/content/{loaded.id}")

    def ask(self, name: str, projection: bytes) -> Awaitable[RegoAnswer]:
        """Send a question about a loaded bundle. Awaiting it raises `EngineUnavailable` when no answer counts."""
        return asyncio.ensure_future(self.decide(name, projection))

    async def decide(self, name: str, projection: bytes) -> RegoAnswer:
        """
        Evaluate a loaded bundle over a projection (see `projection`).

        Raises `EngineUnavailable` when no answer that counts came within the deadline.
        """
        loaded = self._bundles.get(name)
        if loaded is None:
            raise EngineUnavailable("opa: the bundle is not loaded")
        if self._in_flight >= _IN_FLIGHT_MAX:
            raise EngineUnavailable("opa: too many questions wait")
        self._in_flight += 1
        try:
            async with self._within(self._deadline):
                answer = await self._answered(loaded, orjson.loads(projection))
        finally:
            self._in_flight -= 1
        return answer

    async def _answered(self, loaded: _Loaded, asked: dict[str, Any]) -> RegoAnswer:
        given = loaded.given
        answer = await self._query(loaded, asked)
        if answer is None:
            await self._examine()
            if loaded.given == given:  # Nobody has given it meanwhile.
                try:
                    await self._give(loaded)
                except PolicyFault as fault:
                    raise EngineUnavailable("opa: a bundle that was built does not build again") from fault
            answer = await self._query(loaded, asked)
        if answer is None:
            raise EngineUnavailable("opa: the server does not keep what it is given")
        if answer is MISSHAPEN or self._examined != self._opened.connections:
            await self._examine()
        return answer

    async def _query(self, loaded: _Loaded, asked: dict[str, Any]) -> RegoAnswer | None:
        """What the server says, or None when it has not got the bundle."""
        try:
            document = await self._opened.query_rule(asked, f"lockgate.rules.{loaded.id}", rego_source.ANSWER)
        except EvaluationFailed:
            return FAILED
        except canonical.OutsideProfile:  # JSON as it should be, with a value in it that no answer has.
            return MISSHAPEN
        return _read(document, loaded)

    async def _give(self, loaded: _Loaded) -> None:
        """One at a time for each bundle; who waits for it less long than it takes does not end it."""
        if loaded.giving is None or loaded.giving.done():
            loaded.giving = asyncio.create_task(self._put(loaded))
            loaded.giving.add_done_callback(_heard)
        await asyncio.shield(loaded.giving)

    async def _put(self, loaded: _Loaded) -> None:
        client, content = self._opened, {"bundle": loaded.name, "data": dict(loaded.rules.data)}
        async with self._within(_BUILD_SECONDS_MAX, is_all=False):
            await client.update_or_create_data(content, f"lockgate/content/{loaded.id}")
            try:
                await client.update_policy_from_string(loaded.module, f"lockgate/rules/{loaded.id}", rego_compat=False)
            except RegoParseError as error:
                raise PolicyFault("deny.rego: does not build on the OPA server") from error
        loaded.given += 1

    async def _examine(self) -> None:
        """Find out what answers at this origin. Raises `EngineUnavailable` unless it may be asked."""
        if self._examining is None or self._examining.done():
            self._examining = asyncio.create_task(self._look())
            self._examining.add_done_callback(_heard)
        await asyncio.shield(self._examining)

    async def _look(self) -> None:
        connections = self._opened.connections
        async with self._within(self._deadline, is_all=False):
            _require_admissible(await self._opened.get_config())
        self._examined = connections

    @asynccontextmanager
    async def _within(self, seconds: float, *, is_all: bool = True) -> AsyncIterator[None]:
        """
        What the client and its connections raise, as our own; whoever watches is told of the first and the last.

        What is not all that was to be asked proves nothing by its success: a server may be examined and yet be slow.
        """
        try:
            async with asyncio.timeout(seconds):
                yield
        except PolicyFault:
            raise
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, RegoParseError) as error:
            self._tell(type(error).__name__)
            raise EngineUnavailable("opa: the server gave no answer") from error
        except EngineUnavailable as error:
            self._tell(str(error))
            raise
        if is_all:
            self._tell(None)

    def _tell(self, trouble: str | None) -> None:
        if (trouble is None) != (self._trouble is None):
            self._on_change(trouble)
        self._trouble = trouble
        if trouble is not None and (self._probing is None or self._probing.done()):
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        """Ask until there is an answer: a gateway that is not ready may be sent no calls that would find out."""
        while self._trouble is not None:
            await asyncio.sleep(_PROBE_SECONDS)
            with suppress(EngineUnavailable):
                name = next(iter(self._bundles), None)
                await (self.reach() if name is None else self.decide(name, b"{}"))

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise EngineUnavailable("opa: not started, or closed")
        return self._client


def origin_parts(origin: str) -> tuple[str, int, bool]:
    """
    Host, port and whether it is TLS, of `https://host[:port]` or, on loopback, `http://host:port`.

    Raises `ValueError` for anything else: a token and questions in clear belong on no network.
    """
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("expected an origin as `https://opa.example:8181` or `http://127.0.0.1:8181`")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("expected an origin without path, query or fragment")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("`http` is for loopback; elsewhere expected `https`")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host, parts.port or (443 if parts.scheme == "https" else 8181), parts.scheme == "https"


def _read(document: Any, loaded: _Loaded) -> RegoAnswer | None:
    """
    The server's answer. None: it has not got the bundle, which it says by an empty object.

    Raises `EngineUnavailable` when another bundle decided. Any other form is a policy error, as from every engine.
    """
    match document:
        case {**members} if not members:
            return None
        case {"result": {"bundle": str(bundle), "decisions": list(decisions), **more}, **rest} if not more and not rest:
            if bundle != loaded.name:
                raise EngineUnavailable("opa: the answer names another bundle")
        case _:
            return MISSHAPEN
    match decisions:
        case []:
            return UNDEFINED
        case [decision]:
            return rego_answers.read(decision, loaded.rules)
        case _:
            return MISSHAPEN


def _loaded(name: str, rules: RegoRules) -> _Loaded:
    content = [name, rules.module, dict(rules.data)]
    identity = "b" + sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    module = rego_source.moved(rules.module, f"lockgate.rules.{identity}", f"data.lockgate.content.{identity}.data")
    answer = _ANSWER.format(name=rego_source.ANSWER, id=identity)
    return _Loaded(name=name, rules=rules, id=identity, module=module + answer)


def _heard(done: asyncio.Task[None]) -> None:
    if not done.cancelled():
        done.exception()  # Whoever waited was told; perhaps nobody waits any more.


def _require_admissible(config: Any) -> None:
    match config:
        case {"result": {"labels": {"version": str(version)}, **members}, **rest} if not rest:
            pass
        case _:
            raise EngineUnavailable("opa: what answers there is no OPA server, or does not show its configuration")
    numbers = version.partition("-")[0].split(".")
    if not all(each.isdecimal() for each in numbers) or tuple(map(int, numbers)) < OLDEST:
        raise EngineUnavailable(f"opa: expected version {'.'.join(map(str, OLDEST))} or later")
    if surplus := sorted(str(name) for name in members if name not in _CONFIGURED):
        raise EngineUnavailable(f"opa: configured with {', '.join(surplus)}; see deploy/opa/opa.yaml")
