"""Stop a gateway in the middle of three calls, let another take over, and let it go on: SIGSTOP, time, SIGCONT.

One call holds its claim and waits for a fact, one has just sent the COMMIT of its intent, and one has its request in
the tool's hands, which looks at the fence only later. Their clients ask the other gateway, again and again.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import httpx2

from deploy.demo.client import Answer, Client
from deploy.demo.world import Gateway
from gateway.opening import DATABASE
from tests.world import notes, proxy
from tests.world.ground import SETTINGS, Ground, insist, wait_for
from tests.world.tools import Tool, declaration

PLACES = ("claim", "intend", "execute")
FACT_SECONDS = 1
"""The call that waits for a fact is in `gather` for so long: below the patience of the gateway."""
DEADLINE_MS = 3_000
HELD_SECONDS = 6
"""The tool looks at the fence when deadline and grace have passed."""
LAST_WORD_SECONDS = 2
"""What a worker that goes on has to say is on the log by then, or never will be."""
Ask = Callable[[Client], Answer]


@dataclass(slots=True)
class Paused:
    """What became of the call at one place."""

    place: str
    ask: Ask
    elsewhere: Answer | None = None
    """The other gateway's final answer to the key, given while the first stood still."""
    stale: Answer | None = None
    """What the first told its own client in the end; None when that heard nothing."""
    kinds: list[str] = field(default_factory=list)
    """The entries of the call, when all was over."""
    effects: int = 0

    def wrong(self) -> list[str]:
        """What does not hold."""
        told = []
        if self.elsewhere is None or self.elsewhere.document.get("status") != "executed":
            told.append(f"{self.place}: the other gateway did not finish the call: {self.elsewhere}")
        elif self.stale is not None and self.stale.status == 200 and self.stale.call != self.elsewhere.call:
            told.append(f"{self.place}: the stale gateway answered as another call")
        if self.effects != 1:
            told.append(f"{self.place}: {self.effects} effects")
        # A worker that stood still before it was told of its intent gives up without a word.
        if self.place == "execute" and self.kinds.count("LATE") != 1:
            told.append(f"{self.place}: what the stale worker found is not recorded as late: {self.kinds}")
        return told


def pause(ground: Ground, tool: Tool, *, seconds: float) -> list[Paused]:
    """Stop a gateway for that long, with a call at each of the places; another gateway runs beside it."""
    name = f"leave_note_{secrets.token_hex(3)}"
    document = declaration(name, tool.origin, can_say=True).decode()
    # Longer than it takes to stop the gateway meanwhile.
    notes.register(ground, document.replace("deadline_ms: 700", f"deadline_ms: {DEADLINE_MS}").encode())
    urls = ground.world.cluster.urls(DATABASE)
    with proxy.before(urls.app) as through:
        settings = {**SETTINGS, "LOCKGATE_DATABASE_URL": through.url, "LOCKGATE_AUDITOR_URL": urls.auditor}
        stale = ground.world.gateway(settings=settings, port=0)
        try:
            calls = [
                Paused("claim", partial(_refund, ground, secrets.token_hex(16))),
                Paused("intend", partial(_refund, ground, secrets.token_hex(16))),
                Paused("execute", partial(_note, ground, name, secrets.token_hex(16))),
            ]
            clients = _stopped_within(ground, tool, through, stale, calls)
            began = time.monotonic()
            for call in calls:
                call.elsewhere = insist(ground.client(), call.ask)
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            stale.process.send_signal(signal.SIGCONT)
            for client in clients:
                client.join()
            time.sleep(LAST_WORD_SECONDS)
            _look(ground, tool, calls)
        finally:
            stale.process.send_signal(signal.SIGCONT)
            stale.kill()
    return calls


def _stopped_within(
    ground: Ground, tool: Tool, through: proxy.Proxy, stale: Gateway, calls: list[Paused]
) -> list[threading.Thread]:
    """The clients of the three calls; on return the gateway stands still in the middle of each."""
    claim, intend, execute = (threading.Thread(target=_told, args=(call, stale.url)) for call in calls)
    # The tool has read its request, and will look at the fence when the other gateway has settled the call.
    tool.read.clear()
    tool.holds_back_seconds = HELD_SECONDS
    execute.start()
    wait_for(lambda: bool(tool.read), "the tool got no request")
    tool.holds_back_seconds = 0
    ground.fault("facts/order", "hang_before", seconds=FACT_SECONDS)
    claim.start()
    time.sleep(FACT_SECONDS / 4)
    is_stopped = threading.Event()

    def stop() -> None:
        os.kill(stale.process.pid, signal.SIGSTOP)
        is_stopped.set()

    through.cut_next(landed=True, then=stop)
    intend.start()
    assert is_stopped.wait(10), "no COMMIT was sent"
    return [claim, intend, execute]


def _told(call: Paused, url: str) -> None:
    try:
        call.stale = call.ask(Client(url))
    except httpx2.TransportError:
        call.stale = None


def _look(ground: Ground, tool: Tool, calls: list[Paused]) -> None:
    journal, operator = ground.oracle.effects(), ground.person("operator").token
    for call in calls:
        if call.elsewhere is None or not call.elsewhere.document.get("call"):
            continue
        known = call.elsewhere.call
        call.kinds = _kinds(ground, known, operator)
        call.effects = tool.effects[known] if call.place == "execute" else journal[known]


def _kinds(ground: Ground, call: str, token: str) -> list[str]:
    return [entry["kind"] for entry in ground.client().get(f"/v1/calls/{call}", token).document["entries"]]


def _refund(ground: Ground, key: str, client: Client) -> Answer:
    arguments = {"order_id": "ord_1003", "amount_cents": 4}
    return client.call(ground.person("finance").token, "issue_refund", arguments, reason="damaged_item", key=key)


def _note(ground: Ground, name: str, key: str, client: Client) -> Answer:
    return notes.leave(ground, name, key, client=client)
