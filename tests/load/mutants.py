"""`make mutants`: small mistakes in every rule of the base bundle, and who would notice them.

Every mutant is judged (see `invariants.strength.scoring`), and every one that the prover lets through gets a second
opinion: cvc5 settles the same claims, and the real engine is asked thousands of questions at the edges that violate an
invariant. Prints a table and writes build/mutants.json; ends with 1 when less is caught than is aimed at, when a
survivor is not explained here, when something is unknown, or when a proof is false. `--write-cases` adds a case for
each survivor that is not explained.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import policies
from admin import case_files
from invariants import prover
from invariants.jobs import Job, job
from invariants.reports import Verdict as Proof
from invariants.solving import cvc5_backend, z3_backend
from invariants.strength import measuring, opinions, proposals, trials
from invariants.strength.measuring import Share
from invariants.strength.opinions import Opinions
from invariants.strength.scores import Judgement, Score, Verdict, judgement
from invariants.strength.trials import Asked
from policies import bundles, cases
from policies.cedar_syntax import ENGINE_VERSION
from tests.world.bundles import bundle, cedar_schema, contracts

BUILD = Path(__file__).resolve().parents[2] / "build"
BASE = Path(policies.__file__).parent / "base"
AIM_BP = 9_900
EXPLAINED = {
    "approval-founder/field_swapped/2": "`context.now >= 2` is another condition in the first two seconds of 1970 only",
}
"""Survivors that no case is worth, and why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge every mutant and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the questions at the edges")
    parser.add_argument("--write-cases", action="store_true", help="add a case for each survivor to the base bundle")
    chosen = parser.parse_args(arguments)
    asked = job(_files(), cedar_schema(), contracts().values())
    _require_a_good_bundle(asked)
    base_cases = trials.asked(bundle(), contracts().values(), cedar_schema().typed)
    started = time.monotonic()
    print("judging", file=sys.stderr, flush=True)
    score = asyncio.run(measuring.measure(asked, base_cases))
    judged = time.monotonic()
    print("second opinions", file=sys.stderr, flush=True)
    second = _second(score, asked, base_cases, chosen.seed)
    seconds = {"judging": round(judged - started, 1), "second_opinions": round(time.monotonic() - judged, 1)}
    report = {
        **score.document(),
        "explained": EXPLAINED,
        "false_proved": sorted({*second.conflicts, *second.permitted}),
        "second_opinions": second.document(),
        "seconds": seconds,
        "seed": chosen.seed,
        "versions": [z3_backend.SOLVER_VERSION, cvc5_backend.SOLVER_VERSION, ENGINE_VERSION],
        "judgements": [each.document() for each in score.judgements],
    }
    BUILD.mkdir(exist_ok=True)
    (BUILD / "mutants.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _show(score, second, seconds)
    unexplained = [each for each in score.with_verdict(Verdict.SURVIVOR) if each.mutant.id not in EXPLAINED]
    if chosen.write_cases and unexplained:
        _write_cases(score, asked, unexplained)
    is_good = score.caught_bp >= AIM_BP and not unexplained and not score.with_verdict(Verdict.UNKNOWN)
    return 0 if is_good and not report["false_proved"] and not second.undecided else 1


def _files() -> dict[str, str]:
    members = bundles.base()
    return {"policies.cedar": members["policies"], "invariants.cedar": members["invariants"]}


def _require_a_good_bundle(asked: Job) -> None:
    """A score says something about a bundle that is proved and passes its cases, and about no other."""
    unproved = [finding for finding in prover.run(asked) if finding.verdict is not Proof.PROVED]
    report = cases.run_alone(bundle(), contracts().values())
    if unproved or not report.is_good:
        raise SystemExit("the base bundle is not proved, or fails its own cases")


def _second(score: Score, asked: Job, base_cases: tuple[Asked, ...], seed: int) -> Opinions:
    # As documents, as between all processes: the nodes of a mutant do not travel.
    documents = [each.document() for each in score.judgements]
    opinion = partial(_opinion, documents, asked, base_cases, seed)
    with ProcessPoolExecutor(measuring.WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        return opinions.joined(pool.map(opinion, range(measuring.WORKERS)))


def _opinion(
    documents: list[dict[str, Any]], asked: Job, base_cases: tuple[Asked, ...], seed: int, place: int
) -> Opinions:
    score = Score(judgements=tuple(map(judgement, documents)), ill_typed=0)
    return opinions.second(score, asked, base_cases, seed=seed, share=Share(place=place, of=measuring.WORKERS))


def _write_cases(score: Score, asked: Job, survivors: list[Judgement]) -> None:
    proposed = proposals.propose(replace(score, judgements=tuple(survivors)), asked, contracts().values())
    written = case_files.add(BASE, proposed)
    print(f"{len(written)} cases written: read each, and give it a name that says why")
    for failure in cases.run_alone(
        bundle(cases=json.loads((BASE / case_files.FILE).read_bytes())), contracts().values()
    ).failures:
        print(f"  `{failure.case}`: Rego has its say: {failure.explanation}")


def _show(score: Score, second: Opinions, seconds: dict[str, float]) -> None:
    document = score.document()
    rows = [
        ("mutants", document["mutants"]),
        ("  mean the same (shown by the solver)", document["equivalent"]),
        ("  caught by proof", document["by"]["proof"]),
        ("  caught because a forbid errs", document["by"]["never_errs"]),
        ("  caught because a rule is dead", document["by"]["dead_rule"]),
        ("  caught by cases", document["by"]["cases"]),
        ("  survivors", len(document["survivors"])),
        ("  unknown", len(document["unknown"])),
        ("refused by strict validation, not counted", document["ill_typed"]),
        ("let through by the prover", second.mutants),
        ("  claims that cvc5 settled too", second.claims),
        ("  claims that cvc5 gave up", second.undecided),
        ("  violating questions asked of the engine", second.asked),
        ("  false proofs", len({*second.conflicts, *second.permitted})),
        ("refuted by the prover", second.refuted),
        ("  exposed by such questions as well", second.exposed),
    ]
    for name, count in rows:
        print(f"{name:46}{count:9,}")
    for each in score.with_verdict(Verdict.SURVIVOR):
        print(f"survives: {each.mutant.id}: {each.mutant.sentence}")
        print(f"  {EXPLAINED.get(each.mutant.id, 'not explained')}")
    print(
        f"{score.caught_bp / 100:.2f} % of {score.to_catch:,} mistakes caught in {seconds['judging']} s; "
        f"second opinions in {seconds['second_opinions']} s"
    )


if __name__ == "__main__":
    sys.exit(main())
