"""Name servers that hang: whoever needs the name hears in time that nothing was sent, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import httpcore2
import pytest

from gateway.connectors import Dispatch, HttpConnector, Outcome
from gateway.errors import Unavailable
from gateway.ledger import State
from gateway.lookups import LOOK_UP_SECONDS, LookUps, Resolve, resolve
from gateway.origins import Backend
from tests.world import sink as sinks
from tests.world.refusals import prepared
from tests.world.sink import Sink
from tests.world.stories import eventually
from tool_registry.contracts import Connector

SLOW, QUICK = "slow.example", "localhost"
DEADLINE_MS = 3000
CALLS = 50
AT_ONCE = 5  # As many connections as the sink lets wait.
UNREACHED = Outcome(state=State.NOT_DONE, reason="tool_unreachable")


class Two:
    """A connector to two named hosts: a tool behind the slow one, facts of the quick one."""

    def __init__(self, sink: Sink, resolving: Resolve) -> None:
        sink.answer = {"at_ms": 1, "facts": {}}
        port = sink.origin.rpartition(":")[2]
        origins = {"backoffice": f"http://{SLOW}:{port}", "quick": f"http://{QUICK}:{port}"}
        self.connector = HttpConnector(origins, (), resolve=resolving)

    async def refund(self, deadline_ms: int = DEADLINE_MS) -> Outcome:
        """A write, at the slow host."""
        tool = prepared("issue_refund")
        call = {"arguments": {"order_id": "ord_1", "amount_cents": 1}, "reason_code": "damaged_item"}
        return await self.connector.execute(
            Dispatch(
                tenant="acme",
                tool=replace(tool, contract=replace(tool.contract, deadline_ms=deadline_ms)),
                canonical=json.dumps(call).encode(),
                effect_id="call_" + "0" * 32,
                fence=1,
                deadline_at_ms=2**50,
                correlation="",
            )
        )

    async def fact(self) -> str:
        """A fact of the quick host: the reason for which it is not had."""
        described = Connector(kind="http", origin="quick", method="GET", path="/operations/any")
        try:
            document = await self.connector.fact("acme", described, "GET", "/facts/any", {})
        except Unavailable as fault:
            return fault.reason
        return "" if document == {"at_ms": 1, "facts": {}} else "another fact"


def met(resolving: Resolve, story: Callable[[Two], Coroutine[Any, Any, Any]]) -> tuple[Any, Sink]:
    """What a story meets, and what the machine behind both names received."""

    async def run(two: Two) -> Any:
        try:
            return await story(two)
        finally:
            await two.connector.close()

    with sinks.listening() as sink:
        return asyncio.run(run(Two(sink, resolving))), sink


class Names:
    """A resolver of which one name hangs, and how often it was asked for each."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def resolve(self, host: str) -> list[str]:
        """The addresses of a host."""
        self.asked[host] += 1
        if host == SLOW:
            await asyncio.Event().wait()
        return ["127.0.0.1"]


def test_a_name_that_hangs_stops_its_own_tool_alone() -> None:
    """
    Fifty calls of a tool whose name nobody resolves are told, before their deadline, that nothing was sent; they share
    one look-up, later ones too, and facts of another host come all the while.
    """
    names = Names()

    async def story(two: Two) -> tuple[list[Outcome], float, list[str], Outcome]:
        started = time.monotonic()
        calls = [asyncio.create_task(two.refund()) for _ in range(CALLS)]
        await asyncio.sleep(0)
        facts = await asyncio.gather(*(two.fact() for _ in range(AT_ONCE)))
        assert not any(each.done() for each in calls)
        outcomes = await asyncio.gather(*calls)
        return outcomes, time.monotonic() - started, facts, await two.refund()

    (outcomes, seconds, facts, later), sink = met(names.resolve, story)

    assert [*outcomes, later] == [UNREACHED] * (CALLS + 1)
    assert LOOK_UP_SECONDS <= seconds < DEADLINE_MS / 1000
    assert facts == [""] * AT_ONCE
    assert names.asked == {SLOW: 1, QUICK: 1}
    assert {each.path for each in sink.received} == {"/facts/any"}


def test_a_deadline_before_anything_was_sent_leaves_no_doubt() -> None:
    """
    A tool that is given less time than a look-up is not done, and not in doubt, when its name hangs.
    """
    outcome, _ = met(Names().resolve, lambda two: two.refund(deadline_ms=200))

    assert outcome == UNREACHED


def test_a_resolver_that_cannot_be_interrupted_holds_one_thread_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The machine's resolver blocks for as long as it likes: all calls that need the name share its thread, which the
    other host does not need.
    """
    hangs = threading.Event()

    def blocking(host: str, *_: object, **__: object) -> list[Any]:
        if host == SLOW:
            hangs.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", blocking)

    async def story(two: Two) -> tuple[list[Outcome], list[str], int]:
        calls = [asyncio.create_task(two.refund()) for _ in range(CALLS)]
        await asyncio.sleep(0.1)
        facts = await asyncio.gather(*(two.fact() for _ in range(AT_ONCE)))
        return await asyncio.gather(*calls), facts, looking()

    (outcomes, facts, threads), _ = met(resolve, story)
    hangs.set()

    assert outcomes == [UNREACHED] * CALLS
    assert facts == [""] * AT_ONCE
    assert threads == 1
    assert eventually(lambda: looking() == 0)


def looking() -> int:
    """How many threads wait for the resolver."""
    return sum(each.name == "look-up" for each in threading.enumerate())


def test_a_name_that_answers_is_asked_once_for_many_connections() -> None:
    """
    Connections at once share one look-up, and those of the next seconds its answer.
    """
    names = Names()

    async def story(two: Two) -> None:
        for _ in range(3):
            assert await asyncio.gather(*(two.fact() for _ in range(AT_ONCE))) == [""] * AT_ONCE

    met(names.resolve, story)

    assert names.asked == {QUICK: 1}


def test_a_service_that_moved_is_looked_up_again() -> None:
    """
    Addresses of which none answers any more are forgotten at once.
    """
    names = Names()

    async def connect() -> None:
        backend = Backend(LookUps(names.resolve))
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            for _ in range(2):
                await (await backend.connect_tcp(QUICK, port)).aclose()
        for _ in range(2):
            with pytest.raises(httpcore2.ConnectError):
                await backend.connect_tcp(QUICK, port)

    asyncio.run(connect())

    assert names.asked == {QUICK: 2}
