"""A gateway process with its tool and facts inside: `python -m tests.load.inside [--one-phase]`, settings as always.

The contract is `issue_refund` of the catalogue, features and all, but for its connector (`local`), its rate, and the
confirming read, which needs a source to read from. `--one-phase` answers each settlement without writing it: what is
left is a gateway that records intents alone, to see what the second durable record costs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import orjson
import uvloop

from gateway import app, serving
from gateway.admission import Call
from gateway.app import Outside
from gateway.clock import SystemClock
from gateway.connectors import Dispatch
from gateway.doors.front import ASGI
from gateway.facts import Reading
from gateway.ledger import Act, Answer, Intend, Intended, Placed, Settle, Settled
from gateway.logs import configure
from gateway.settings import Settings, read
from gateway.storage.books import Books
from gateway.storage.lookups import Lookups
from gateway.storage.sequencer import Sequencer
from tool_registry.contracts import Connector
from tool_registry.registry import Registry, load_catalogue

TOOL = "issue_refund"
CALLS_PER_MINUTE = 60_000  # The most that a contract may say; the load stays below it.
PAID_CENTS = 1_000_000


def catalogue() -> Registry:
    """The whole catalogue, its refund answered in process."""
    contracts = dict(load_catalogue().contracts)
    contracts[TOOL] = replace(
        contracts[TOOL],
        connector=Connector(kind="local", act=TOOL),
        confirm=None,
        status_path=None,
        calls_per_minute=CALLS_PER_MINUTE,
    )
    return Registry(contracts.values())


async def refund(dispatch: Dispatch) -> Mapping[str, Any]:
    """Give nothing back to nobody."""
    arguments = orjson.loads(dispatch.canonical)["arguments"]
    return {
        "refund_id": "ref_" + dispatch.effect_id[5:21],
        "order_id": arguments["order_id"],
        "amount_cents": arguments["amount_cents"],
        "refunded_cents": arguments["amount_cents"],
    }


async def order(call: Call) -> Reading:
    """An order that was paid a moment ago."""
    return Reading(at_ms=SystemClock().now_ms(), values={"paid_cents": PAID_CENTS, "refunded_cents": 0})


class OnePhase(Books):
    """Books that keep intents, and answer settlements as if they had been kept."""

    def __init__(self, sequencer: Sequencer, lookups: Lookups) -> None:
        super().__init__(sequencer, lookups)
        self._placed: dict[bytes, Placed] = {}

    async def commit(self, act: Act) -> Answer:
        """Write everything but settlements of the business."""
        if isinstance(act, Settle) and act.act is None:
            return Settled(state=act.state, status=act.status, answer=act.answer, placed=self._placed.pop(act.claim))
        answer = await super().commit(act)
        if isinstance(act, Intend) and isinstance(answer, Intended):
            self._placed[act.row.claim] = answer.placed
        return answer


def _inside(settings: Settings, *, ending: asyncio.Event) -> AbstractAsyncContextManager[ASGI]:
    outside = Outside(tools={TOOL: refund}, facts={"order": order}, catalogue=catalogue())
    return app.gateway(settings, outside, ending=ending)


def main() -> int:
    """Serve until told to end."""
    settings = read()
    configure(settings.log_level)
    if "--one-phase" in sys.argv:
        vars(app)["Books"] = OnePhase
    vars(serving)["gateway"] = _inside  # The same server, set up by the same lines.
    uvloop.run(serving.serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
