"""The oracle: what the business's own journal, the log and the counters must say of one another after any fault.

E1  every effect was intended before it took place: the journal holds nothing that the log does not, nor earlier (both
    have their times from the one database server)
E2  no effect id took place twice
E3  a call that is executed has one effect, one intent that stood, and one outcome that says so
E4  the stand-alone verifier finds the log whole, and every checkpoint kept earlier in it
I06 what the counters hold reserved and spent is what the open and the executed calls reserved, and no closed call
    holds an amount in flight

Only tools of the demo business are counted: governance has its effects in our own tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from deploy.demo.cast import TENANTS
from deploy.demo.client import Client
from deploy.demo.world import ROOT, World
from gateway.opening import DATABASE
from gateway.storage.connections import DatabaseUnavailable, connect, transaction
from tool_registry.contracts import Effect, Family
from tool_registry.registry import load_catalogue

CHAINS = (*TENANTS, "system")
PATIENCE_SECONDS = 20
OPEN = ("executing", "in_doubt")
_CLOSING = frozenset({"OUTCOME", "RECONCILED"})
_TOOLS = frozenset(
    name
    for name, contract in load_catalogue().contracts.items()
    if contract.family is Family.BUSINESS and contract.effect is not Effect.READ
)


@dataclass(slots=True)
class Story:
    """What the log tells of one call."""

    intents: int = 0
    intended_ms: int = 0
    """When the first of them was."""
    closings: list[str] = field(default_factory=list)
    """The state that each closing entry names, in order."""
    late: int = 0

    @property
    def is_executed(self) -> bool:
        return "executed" in self.closings


@dataclass(frozen=True, slots=True)
class Findings:
    """Both sides, compared."""

    effects: Counter[str]
    stories: Mapping[str, Story]
    wrong: tuple[str, ...]
    """What does not hold, in sentences. Empty: all of it holds."""


class Oracle:
    """Asks one world. Keeps the checkpoints it has seen, so that a log that forgot something is found out."""

    def __init__(self, world: World, auditor_url: str = "") -> None:
        """`auditor_url` leads to the gateway's database where it is not in the world's cluster."""
        self._world = world
        self._auditor_url = auditor_url
        self._folder = world.home / "oracle"
        self._folder.mkdir(exist_ok=True)

    def effects(self) -> Counter[str]:
        """How often each effect id is in the business's journal."""
        return Counter(line["effect_id"] for line in self.journal())

    def journal(self) -> list[dict[str, Any]]:
        """The journal's lines."""
        journal = self._world.business.journal
        return [json.loads(line) for line in journal.read_bytes().splitlines()] if journal.exists() else []

    def reconcile(self, url: str, *, chains: Iterable[str] = CHAINS) -> Findings:
        """
        Compare journal, log and counters, through a gateway that runs at `url`.

        The journal is read first: whatever it holds by then must have been intended already.
        """
        journal, client = self.journal(), Client(url)
        effects = Counter(line["effect_id"] for line in journal)
        _until_ready(client)
        stories: dict[str, Story] = defaultdict(Story)
        wrong: list[str] = []
        for tenant in CHAINS:
            token = self._world.cast.person(tenant, "auditor").token
            export = client.text("/v1/audit/export", token)
            _tell(export, stories)
            if tenant in chains:
                wrong += self._verify(client, tenant, export)
        wrong += _compare(effects, stories)
        wrong += _too_early(journal, stories)
        for tenant in TENANTS:
            wrong += self._counters(tenant)
        return Findings(effects, stories, tuple(wrong))

    def open_calls(self, tenant: str) -> int:
        """Calls whose outcome is not known."""
        rows = self._query(tenant, "select count(*) from lockgate.calls where state in ('executing', 'in_doubt')")
        return int(rows[0][0])

    def keep_checkpoint(self, client: Client, tenant: str) -> None:
        """Keep the newest checkpoint, as a careful auditor would."""
        newest = client.get(f"/v1/audit/checkpoint?tenant={tenant}")
        if newest.status == 404:
            return  # The chain has no entry yet.
        if newest.status != 200:
            raise AssertionError(f"no checkpoint: {newest.status} {newest.reason}")
        with self._kept(tenant).open("a") as file:
            file.write(json.dumps(newest.document) + "\n")

    def _verify(self, client: Client, tenant: str, export: bytes) -> list[str]:
        file, keys = self._folder / f"{tenant}.export", self._folder / "keys.json"
        file.write_bytes(export)
        keys.write_bytes(client.text("/v1/keys"))
        command = [sys.executable, "-m", "proofs", "verify", str(file), "--keys", str(keys)]
        if self._kept(tenant).exists():
            command += ["--checkpoint", str(self._kept(tenant))]
        verdict = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.keep_checkpoint(client, tenant)
        return [] if verdict.returncode == 0 else [f"E4 {tenant}: {verdict.stdout}{verdict.stderr}"]

    def _kept(self, tenant: str) -> Path:
        return self._folder / f"{tenant}.checkpoints"

    def _counters(self, tenant: str) -> list[str]:
        reserved: Counter[bytes] = Counter()
        spent: Counter[bytes] = Counter()
        for state, packed in self._query(tenant, "select state, reservations from lockgate.calls"):
            for key, _, amount, *_ in json.loads(packed)["budgets"] if packed else ():
                if state in OPEN:
                    reserved[bytes.fromhex(key)] += amount
                elif state == "executed":
                    spent[bytes.fromhex(key)] += amount
        kept = self._query(
            tenant,
            "select h.call_id from lockgate.holds h join lockgate.calls c using (call_id)"
            " where h.state = 'reserved' and c.state not in ('executing', 'in_doubt')",
        )
        return [f"I06 {tenant}: call {call} is closed and still holds an amount in flight" for (call,) in kept] + [
            f"I06 {tenant}: `{name}` holds {now} of reserved and spent, its calls [{reserved[key]}, {spent[key]}]"
            for key, name, *now in self._query(tenant, "select key, name, reserved, spent from lockgate.budgets")
            if now != [reserved[key], spent[key]]
        ]

    def _query(self, tenant: str, statement: str) -> list[tuple[Any, ...]]:
        url = self._auditor_url or self._world.cluster.urls(DATABASE).auditor
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with connect(url) as connection, transaction(connection, [tenant]) as cursor:
                    return cursor.execute(statement.encode()).fetchall()
            except (DatabaseUnavailable, psycopg.OperationalError):
                # Of a server that was just killed: it takes a moment to recover.
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


def _until_ready(client: Client) -> None:
    """Wait until the gateway reads its database: after a fall it finds its connections broken, one by one."""
    until = time.monotonic() + PATIENCE_SECONDS
    while client.get("/readyz").status != 200:
        if time.monotonic() > until:
            raise AssertionError("the gateway does not come to read its database")
        time.sleep(0.1)


def _tell(export: bytes, stories: dict[str, Story]) -> None:
    for line in export.splitlines():
        entry = json.loads(line).get("entry")
        if entry is None or entry.get("tool") not in _TOOLS:
            continue
        if entry["kind"] == "INTENT":
            story = stories[entry["call"]]
            story.intents += 1
            story.intended_ms = story.intended_ms or entry["at_ms"]
        elif entry["kind"] in _CLOSING:
            stories[entry["call"]].closings.append(entry["state"])
        elif entry["kind"] == "LATE":
            stories[entry["call"]].late += 1


def _too_early(journal: Iterable[Mapping[str, Any]], stories: Mapping[str, Story]) -> list[str]:
    return [
        f"E1 {line['effect_id']}: it took place at {line['at']}, and was intended at {story.intended_ms} ms"
        for line in journal
        if (story := stories.get(line["effect_id"])) is not None
        and datetime.fromisoformat(line["at"]).timestamp() * 1000 < story.intended_ms - 1  # Cut to the millisecond.
    ]


def _compare(effects: Counter[str], stories: Mapping[str, Story]) -> list[str]:
    wrong = [f"E1 {effect}: an effect that no entry intended" for effect in effects if effect not in stories]
    wrong += [f"E2 {effect}: {count} times" for effect, count in effects.items() if count > 1]
    for call, story in stories.items():
        # An intent that ended `not_done` did not stand: the key was tried again under a new one.
        stood = story.intents - story.closings.count("not_done")
        if story.is_executed and (effects[call], stood, story.closings.count("executed")) != (1, 1, 1):
            wrong.append(f"E3 {call}: executed, with {effects[call]} effects, and {story}")
        if effects[call] and story.closings[-1:] in (["failed"], ["not_done"]):
            wrong.append(f"E3 {call}: {story.closings[-1]}, with an effect, and {story}")
        if not 0 <= stood <= 1:
            wrong.append(f"E3 {call}: {stood} intents stand, {story}")
    return wrong
