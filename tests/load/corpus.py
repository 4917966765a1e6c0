"""`make corpus`: the published Cedar cases against our two meanings of Cedar, and against the engine.

Every request is answered three times: by the engine, by the compiled closures, and by a solver that is given the
encoded policies with the request's and the entities' facts and must find the expected answer the only possible one.
Answers are compared in decision, determining policies and errors. Prints a table and writes build/corpus.json; ends
with 1 when anything disagrees or less is encoded than is aimed at, with 3 when the archive cannot be read.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import cedarpy

from invariants.errors import EvaluationError, Unreadable, Unsupported
from invariants.meaning import encodings, entities, evaluation, schema_text
from invariants.meaning.encodings import Answer, Encoding
from invariants.meaning.schemas import RequestType
from invariants.solving import cvc5_backend, smtlib, z3_backend
from invariants.solving.answers import Verdict
from policies import cedar_syntax

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT.parent / "shared" / "corpora" / "cedar-corpus.tar.gz"
RESOURCES = 20_000_000
AIM_ALL, AIM_VALID = 0.97, 0.995
WAYS = ("engine", "closures", "solver")


@dataclass(frozen=True)
class Case:
    """One set of policies with its requests."""

    name: str
    document: Mapping[str, Any]
    policies: str
    schema: str
    entities: str


@dataclass
class Tally:
    """What came out: how often each way of answering agreed, was refused and why, or disagreed."""

    requests: Counter[bool] = field(default_factory=Counter)
    agreeing: Counter[tuple[str, bool]] = field(default_factory=Counter)
    refused: Counter[tuple[str, bool, str]] = field(default_factory=Counter)
    disagreeing: list[tuple[str, str, str]] = field(default_factory=list)
    solved: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.requests += other.requests
        self.agreeing += other.agreeing
        self.refused += other.refused
        self.disagreeing += other.disagreeing
        self.solved += other.solved


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the corpus and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.corpus", description=__doc__)
    parser.add_argument("archive", nargs="?", type=Path, default=ARCHIVE)
    parser.add_argument("--every", type=int, default=1, help="take one case of so many")
    parser.add_argument("--second-solver", action="store_true", help="ask cvc5 as well")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    chosen = parser.parse_args(arguments)
    try:
        cases = list(read(chosen.archive))[:: chosen.every]
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        print(f"cannot read `{chosen.archive}`: {error}", file=sys.stderr)
        return 3
    started = time.monotonic()
    tally = run(cases, jobs=chosen.jobs, second_solver=chosen.second_solver)
    report = document(tally, seconds=time.monotonic() - started, cases=len(cases))
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    (build / "corpus.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    show(report)
    return 0 if report["reached"] else 1


def read(archive: Path) -> Iterator[Case]:
    """Every case of an archive, in the order of names."""
    files: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and (content := tar.extractfile(member)) is not None:
                files[PurePosixPath(member.name).name] = content.read()
    for name in sorted(files):
        if name.endswith(".json") and not name.endswith(".entities.json"):
            case = json.loads(files[name])
            parts = [
                files[PurePosixPath(case[part]).name].decode("utf-8") for part in ("policies", "schema", "entities")
            ]
            yield Case(name.removesuffix(".json"), case, *parts)


def run(cases: Sequence[Case], *, jobs: int = 1, second_solver: bool = False) -> Tally:
    """Judge all cases, in so many processes."""
    total = Tally()
    chunks = [(cases[start : start + 50], second_solver) for start in range(0, len(cases), 50)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=os.nice, initargs=(10,)) as pool:
        for done, tally in enumerate(pool.map(_chunk, chunks), start=1):
            total.add(tally)
            _progress(min(done * 50, len(cases)), len(cases))
    return total


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{total} cases", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done % 500 == 0 or done == total:
        print(f"{done}/{total} cases", file=sys.stderr, flush=True)


def _chunk(work: tuple[Sequence[Case], bool]) -> Tally:
    total = Tally()
    for case in work[0]:
        total.add(judge(case, second_solver=work[1]))
    return total


def judge(case: Case, *, second_solver: bool = False) -> Tally:
    """Answer every request of a case in every way."""
    tally = Tally()
    is_valid = bool(case.document["shouldValidate"])
    requests = case.document["requests"]
    tally.requests[is_valid] = len(requests)
    ways: dict[str, Any] = {"engine": _Engine}
    ways |= {"closures": _Closures, "solver": lambda given: _Solvers(given, second_solver)}
    for way, make in ways.items():
        known: dict[str, str] = {}
        try:
            answering = make(case)
        except (Unsupported, Unreadable, cedar_syntax.SyntaxRefused, ValueError) as refused:
            tally.refused[way, is_valid, _reason(refused)] += len(requests)
            continue
        for request in requests:
            key = json.dumps({**request, "description": ""}, sort_keys=True)
            if key not in known:
                known[key] = _found(answering, request)
            outcome = known[key]
            if outcome == "agrees":
                tally.agreeing[way, is_valid] += 1
            elif outcome.startswith("refused "):
                tally.refused[way, is_valid, outcome.removeprefix("refused ")] += 1
            else:
                tally.disagreeing.append((case.name, str(request["description"]), f"{way}: {outcome}"))
        if isinstance(answering, _Solvers):
            tally.solved += answering.solved
    return tally


def _found(answering: Any, request: Mapping[str, Any]) -> str:
    try:
        return str(answering.judge(request))
    except (Unsupported, Unreadable) as refused:
        return f"refused {_reason(refused)}"


def _reason(refused: Exception) -> str:
    match refused:
        case Unsupported(reason_code=reason):
            return str(reason)
        case cedar_syntax.SyntaxRefused():
            return "syntax"
        case Unreadable():
            return "unreadable"
        case _:
            return "engine_refuses"


def _compared(request: Mapping[str, Any], allowed: bool, determining: frozenset[str], erring: frozenset[str]) -> str:
    found = ("allow" if allowed else "deny", determining, erring)
    expected = (request["decision"], frozenset(request["reason"]), frozenset(request["errors"]))
    return "agrees" if found == expected else f"{found} instead of {expected}"


class _Engine:
    """The engine itself: the oracle must agree with what is expected."""

    def __init__(self, case: Case) -> None:
        self._policies = cedarpy.PolicySet.from_str(case.policies)
        self._entities = cedarpy.Entities.from_json_str(case.entities, case.schema)

    def judge(self, request: Mapping[str, Any]) -> str:
        asked = {name: request[name] for name in ("principal", "action", "resource", "context")}
        answer = cedarpy.is_authorized(asked, self._policies, self._entities)
        named = (re.search(r"policy `([^`]*)`", str(message)) for message in answer.diagnostics.errors)
        erring = frozenset(match.group(1) for match in named if match)
        return _compared(request, answer.allowed, frozenset(answer.diagnostics.reasons), erring)


class _Ours:
    """What closures and solver start from."""

    def __init__(self, case: Case) -> None:
        self.policies = cedar_syntax.linked(cedar_syntax.parse_set(case.policies))
        self.schema = schema_text.read(case.schema)
        self.store = entities.store(json.loads(case.entities), self.schema)


class _Closures(_Ours):
    """The concrete meaning."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._run = {name: evaluation.policy(node, f"rule `{name}`") for name, node in self.policies.items()}

    def judge(self, request: Mapping[str, Any]) -> str:
        scene = evaluation.Scene(entities.request(request, self.schema), self.store)
        satisfied, erring = set(), set()
        for name, run_policy in self._run.items():
            try:
                if run_policy(scene):
                    satisfied.add(name)
            except EvaluationError:
                erring.add(name)
        answer = Answer(satisfied=frozenset(satisfied), erring=frozenset(erring))
        return _compared(request, *answer.decided(self.policies), answer.erring)


class _Solvers(_Ours):
    """The symbolic meaning, in full: encoded for every request, then bound to this one."""

    def __init__(self, case: Case, second_solver: bool) -> None:
        super().__init__(case)
        self._second_solver = second_solver
        self._encodings: dict[RequestType, Encoding] = {}
        self.solved: Counter[str] = Counter()

    def judge(self, request: Mapping[str, Any]) -> str:
        asked = entities.request(request, self.schema)
        kind = RequestType(principal=asked.principal.type, action=asked.action, resource=asked.resource.type)
        if kind not in self._encodings:
            self._encodings[kind] = encodings.encode(self.policies, self.schema, kind)
        encoding = self._encodings[kind]
        answer = self._expected(request)
        other = encoding.other_answer(answer)
        facts = encoding.facts(asked, self.store, other)
        solver = z3_backend.Solver(facts, RESOURCES)
        found = (solver.check(), solver.check(other))
        self.solved["z3"] += 2
        if Verdict.UNKNOWN in found:
            return "refused solver_limit"
        if found != (Verdict.SATISFIABLE, Verdict.UNSATISFIABLE):
            return f"facts {found[0]}, another answer {found[1]}"
        if self._second_solver:
            again = tuple(cvc5_backend.settle(smtlib.script(part)) for part in (facts, (*facts, other)))
            self.solved["cvc5"] += sum(verdict is not Verdict.UNKNOWN for verdict in again)
            self.solved["cvc5 unknown"] += again.count(Verdict.UNKNOWN)
            if any(one not in (two, Verdict.UNKNOWN) for one, two in zip(again, found, strict=True)):
                return f"cvc5: facts {again[0]}, another answer {again[1]}"
        return "agrees"

    def _expected(self, request: Mapping[str, Any]) -> Answer:
        """
        The case names determining policies only, so which others are satisfied is asked of the closures.

        Where they were wrong, the solver would find another answer.
        """
        scene = evaluation.Scene(entities.request(request, self.schema), self.store)
        satisfied = set(request["reason"])
        for name, node in self.policies.items():
            if name not in satisfied and name not in request["errors"]:
                try:
                    if evaluation.policy(node, f"rule `{name}`")(scene):
                        satisfied.add(name)
                except EvaluationError:
                    continue
        return Answer(satisfied=frozenset(satisfied), erring=frozenset(request["errors"]))


def document(tally: Tally, *, seconds: float, cases: int) -> dict[str, Any]:
    """The report as JSON members."""
    ways = {}
    for way in WAYS:
        rows = {}
        for label, kinds in (("all", (True, False)), ("validating", (True,)), ("not validating", (False,))):
            requests = sum(tally.requests[kind] for kind in kinds)
            agreeing = sum(tally.agreeing[way, kind] for kind in kinds)
            refused = Counter[str]()
            for (named, kind, reason), count in tally.refused.items():
                if named == way and kind in kinds:
                    refused[reason] += count
            encoded = requests - sum(refused.values())
            rows[label] = {
                "requests": requests,
                "agreeing": agreeing,
                "disagreeing": encoded - agreeing,
                "refused": dict(sorted(refused.items())),
                "encoded": round(encoded / requests, 5) if requests else 1.0,
            }
        ways[way] = rows
    solver = ways["solver"]
    return {
        "cases": cases,
        "seconds": round(seconds, 1),
        "solvers": [z3_backend.SOLVER_VERSION, cvc5_backend.SOLVER_VERSION],
        "solved": dict(tally.solved),
        "ways": ways,
        "disagreeing": [list(each) for each in tally.disagreeing],
        "reached": not tally.disagreeing
        and solver["all"]["encoded"] >= AIM_ALL
        and solver["validating"]["encoded"] >= AIM_VALID,
    }


def show(report: Mapping[str, Any]) -> None:
    """The table for people."""
    print(f"{'':10}{'cases':16}{'requests':>9}{'agreeing':>9}{'refused':>9}{'disagreeing':>12}{'encoded':>10}")
    for way, rows in report["ways"].items():
        for label, row in rows.items():
            refused = sum(row["refused"].values())
            print(
                f"{way:10}{label:16}{row['requests']:9,}{row['agreeing']:9,}{refused:9,}"
                f"{row['disagreeing']:12,}{row['encoded']:10.2%}"
            )
    reasons = Counter[str]()
    for rows in report["ways"].values():
        reasons.update(rows["all"]["refused"])
    for reason, count in reasons.most_common():
        print(f"refused: {reason} {count:,}")
    for name, request, what in report["disagreeing"][:20]:
        print(f"disagreeing: {name}, {request}: {what}")
    print(f"{report['cases']:,} cases in {report['seconds']} s; aims {'reached' if report['reached'] else 'MISSED'}")


if __name__ == "__main__":
    sys.exit(main())
