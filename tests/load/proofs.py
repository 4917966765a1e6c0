"""What proofs cost: `python -m tests.load.proofs` prints a table and writes `build/bench-proofs.json`.

Rounds are interleaved: each round measures every part once, in a shuffled order. Median and worst are over the rounds;
of the call path they are the 50th and 99th percentile over single calls, of all rounds together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from statistics import median

from gateway import activation
from gateway.publishing import Judged, Publishing
from invariants import checks, obligations, recheck
from invariants.jobs import Job
from invariants.processes import converse
from invariants.sources import Source
from invariants.state.proving import CounterProver
from invariants.supervisor import Prover
from policies import bundles, case_form, cedar_syntax
from policies.bundles import Bundle
from proofs.certificates import SignedCertificate
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from tests.load.large_bundle import INVARIANTS, POLICIES, TOOLS, large
from tests.world.bundles import AT_MS, bundle, cedar_schema, contracts
from tool_registry.registry import Registry

ROUNDS = 7
CALLS = 20_000
OUTPUT = Path(__file__).resolve().parents[2] / "build" / "bench-proofs.json"

GOALS: Mapping[str, tuple[float, float]] = {
    "base bundle through the whole gate, both solvers": (2, 5),
    f"{POLICIES:,} policies, {TOOLS} tools, {INVARIANTS} invariants, z3": (3, 3),
    "certificate of the base bundle checked again": (1, 1),
    "certificate and predicates on the call path": (20e-6, 20e-6),
}
GATE, LARGE, AGAIN, CALL = GOALS


class _Clock:
    def now_ms(self) -> int:
        return AT_MS


class Bench:
    """Everything that is measured, made ready once."""

    def __init__(self) -> None:
        self._key = PrivateKey.generate()
        self.keys = KeyRing(
            (TrustedKey(public=self._key.public, purposes=frozenset({"bundle", "certificate"}), tenant="*"),)
        )
        self.bundle: Bundle = bundles.sign(bundle(), self._key)
        self.tools = tuple(contracts().values())
        self.large: Job = large()
        self._publishing = Publishing(
            prover=Prover(),
            counters=CounterProver(),
            signer=lambda: self._key,
            bundle_keys=self.keys,
            environment="dev",
            clock=_Clock(),
        )
        self.certificate = self._judged().certificate

    def _judged(self) -> Judged:
        return asyncio.run(self._judge())

    async def _judge(self) -> Judged:
        registry = Registry(self.tools)
        judged = await self._publishing.judge_bundle(self.bundle.raw, "acme", registry)
        if not judged.passed:
            raise RuntimeError(f"the base bundle is refused at `{judged.stage}`")
        return judged

    async def gate(self) -> None:
        """Read, verify, review, cases in a Rego worker of their own, both proofs, certificate signed."""
        await self._judge()

    async def many(self) -> None:
        """A worker with z3 over the large bundle, from its start to its end."""
        reason = await converse("prove", self.large, self.large.limits, lambda _answer: None)
        if reason:
            raise RuntimeError(reason)

    async def again(self) -> None:
        """Signature, digests, obligations written anew, both solvers."""
        source = Source(files=self.bundle.files, digest=self.bundle.digest)
        found = await recheck.recheck(self._signed(), source, self.tools, self.keys)
        if found.outcome is not recheck.Outcome.CONFIRMED:
            raise RuntimeError("not confirmed")

    def calls(self) -> list[float]:
        """For each case of the base bundle: is its action proved by the certificate, do its invariants hold."""
        schema, by_name = cedar_schema(), contracts()
        invariants = checks.compile(self.bundle.invariants, schema.typed)
        proven = activation.proven_actions(self._signed().certificate, schema, invariants)
        asked = [
            case_form.question(case, schema.typed.actions[case.action], by_name[case.action])
            for case in self.bundle.cases
        ]
        certificates, digest = {self.bundle.digest: proven}, self.bundle.digest
        took = []
        for place in range(CALLS):
            question = asked[place % len(asked)]
            begun = time.perf_counter_ns()
            is_proven = question.action in certificates[digest]
            invariants.evaluate(question)
            took.append((time.perf_counter_ns() - begun) / 1e9)
            if not is_proven:
                raise RuntimeError(f"`{question.action}` is not proved")
        return took

    def _signed(self) -> SignedCertificate:
        if self.certificate is None:
            raise RuntimeError("no certificate")
        return self.certificate


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    seed = random.randrange(2**32) if chosen.seed is None else chosen.seed
    found = _measured(Bench(), chosen.rounds, random.Random(seed))
    _print(found)
    OUTPUT.parent.mkdir(exist_ok=True)
    document = {
        "seed": seed,
        "rounds": chosen.rounds,
        "machine": platform.platform(),
        "python": platform.python_version(),
        "engine": cedar_syntax.ENGINE_VERSION,
        "encoder": obligations.ENCODER_VERSION,
        "seconds": {name: list(took) for name, took in found.items() if name != CALL},
        "call_path_percentiles": _percentiles(found[CALL]),
    }
    OUTPUT.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _measured(bench: Bench, rounds: int, order: random.Random) -> dict[str, list[float]]:
    parts: dict[str, Callable[[], Awaitable[None]]] = {GATE: bench.gate, LARGE: bench.many, AGAIN: bench.again}
    found: dict[str, list[float]] = {name: [] for name in GOALS}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        names = list(GOALS)
        order.shuffle(names)
        for name in names:
            if name == CALL:
                found[CALL] += bench.calls()
                continue
            begun = time.perf_counter()
            asyncio.run(_awaited(parts[name]))
            found[name].append(time.perf_counter() - begun)
    return found


async def _awaited(part: Callable[[], Awaitable[None]]) -> None:
    await part()


def _percentiles(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {name: ordered[int(len(ordered) * share)] for name, share in (("p50", 0.5), ("p99", 0.99))}


def _print(found: Mapping[str, list[float]]) -> None:
    print(f"{'':62}{'median':>10}{'worst':>10}  aim")
    for name, (aim, worst_aim) in GOALS.items():
        if name == CALL:
            percentiles = _percentiles(found[name])
            middle, worst = percentiles["p50"], percentiles["p99"]
            print(f"{name + ' (p50, p99)':62}{middle * 1e6:>7.1f} us{worst * 1e6:>7.1f} us  p99 <= {aim * 1e6:.0f} us")
        else:
            middle, worst = median(found[name]), max(found[name])
            print(f"{name:62}{middle:>8.2f} s{worst:>8.2f} s  <= {aim} s, worst <= {worst_aim} s")


if __name__ == "__main__":
    sys.exit(main())
