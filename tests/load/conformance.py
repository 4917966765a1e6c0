"""`python -m tests.load.conformance`: random decisions by the worker, an OPA server and the reference.

Half are questions about the base bundle's module over other windows and lists, through the projection that calls take;
half go through a module that uses every built-in and every form that a module may. Prints the counts and writes
build/conformance.json; ends with 1 when any two engines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies import rego_source
from policies.errors import PolicyFault
from policies.opa import OpaServer
from policies.projection import Projector
from policies.rego import RegoWorker
from policies.rego_answers import RegoEngine, RegoRules
from tests.world import opa
from tests.world.bundles import bundle, contracts
from tests.world.questions import random_question
from tests.world.rego_reference import (
    KNOWN,
    RULES,
    Reference,
    random_base_data,
    random_data,
    random_projection,
    rules_of,
)

BUILD = Path(__file__).resolve().parents[2] / "build"
QUESTIONS_PER_DATA = 20
RULES_KNOWN = len(RULES) + 3
"""Rules that can deny: those of the module of built-ins, and the base bundle's."""
__all__ = ["KNOWN", "RULES_KNOWN", "Counted", "compare", "main"]


@dataclass(slots=True)
class Counted:
    """What was tried, and what differed."""

    decisions: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    differences: list[tuple[Mapping[str, Any], bytes, list[Any]]] = field(default_factory=list)

    @property
    def rules_that_denied(self) -> int:
        """How many different rules denied something: a rule that never does is not tried."""
        return len(self.denied)


async def compare(engines: Sequence[RegoEngine], decisions: int, seed: int) -> Counted:
    """Ask all engines the same, until so many questions were decided by each."""
    draw, counted = random.Random(seed), Counted()
    for engine in engines:
        await engine.start()
    try:
        while counted.decisions < decisions:
            rules, questions = _based(draw) if counted.decisions // QUESTIONS_PER_DATA % 2 else _built(draw)
            for engine in engines:
                await engine.load("b", rules)
            by_engine = [await asyncio.gather(*(engine.ask("b", each) for each in questions)) for engine in engines]
            for asked, *answers in zip(questions, *by_engine, strict=True):
                if any(answer != answers[0] for answer in answers):
                    counted.differences.append((rules.data, asked, answers))
                counted.denied.update(hit.id for hit in answers[0].deny)
                counted.decisions += 1
            for engine in engines:
                await engine.drop("b")
    finally:
        for engine in engines:
            await engine.close()
    return counted


def _built(draw: random.Random) -> tuple[RegoRules, list[bytes]]:
    return rules_of(random_data(draw)), [random_projection(draw) for _ in range(QUESTIONS_PER_DATA)]


def _based(draw: random.Random) -> tuple[RegoRules, list[bytes]]:
    rules = bundle(data=random_base_data(draw)).rego
    reads = rego_source.reads(rules.module)
    projected: list[bytes] = []
    while len(projected) < QUESTIONS_PER_DATA:
        question = random_question(draw)
        try:
            projected.append(Projector(contracts()[question.action], reads).encode(question))
        except PolicyFault:  # Not plain: no engine would be asked.
            continue
    return rules, projected


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.conformance", description=__doc__)
    parser.add_argument("--decisions", type=int, default=10_000, help="by each engine")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    with opa.running() as server:
        engines = [RegoWorker(deadline_seconds=5.0), OpaServer(server.origin, opa.TOKEN, deadline_seconds=5.0)]
        counted = asyncio.run(compare([*engines, Reference()], chosen.decisions, chosen.seed))
    figures = {
        "decisions": counted.decisions,
        "rules that denied": counted.rules_that_denied,
        "denials": counted.denied.total(),
        "differences": len(counted.differences),
        "seed": chosen.seed,
        "seconds": round(time.monotonic() - started, 1),
    }
    for name, value in figures.items():
        print(f"{name:<20}{value:>10}")
    for data, asked, answers in counted.differences[:3]:
        print(f"differ: {asked.decode()} over {json.dumps(dict(data))}: {answers}")
    BUILD.mkdir(exist_ok=True)
    (BUILD / "conformance.json").write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if counted.differences else 0


if __name__ == "__main__":
    sys.exit(main())
