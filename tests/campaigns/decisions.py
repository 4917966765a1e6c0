"""P7: forbid wins, errors deny. Random rules, data and questions, decided by our engines and by references.

Half of the parts ask the Rego engines alone: worker process, OPA server, and the rules in Python. The others change the
base bundle's Cedar rules at random and ask the joined decider, beside Cedar over the whole text and the fifteen-line
join; among them are rules that err, which must never let anything pass.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator

import cedarpy

from policies import bundles
from policies.decider import Decider
from policies.decisions import Verdict
from policies.opa import OpaServer
from policies.questions import Question
from policies.rego import RegoWorker
from tests.campaigns.tallies import Part, Tally
from tests.load.conformance import compare
from tests.world import opa
from tests.world.bundles import bundle, cedar_schema, contracts, with_worker
from tests.world.cedar_reference import unsliced, verdict
from tests.world.questions import random_question
from tests.world.rego_reference import Reference, base_rules

PARTS = 10
PER_PART = 10_000
PER_BUNDLE = 50
"""Questions to each set of rules."""
ERRING_PER_PART = 200
_ERRING = (
    "9223372036854775807 + context.now > 0",
    "(0 - 9223372036854775807) - context.now - 2 < 0",
    "context.now * 9223372036854775807 > 0",
    'decimal("no number").lessThan(decimal("1.0"))',
    'ip("nowhere").isLoopback()',
    'datetime("yesterday") < datetime("2026-01-01")',
)
"""Conditions that err for every question: `now` is never below 2."""


def run(part: Part) -> Iterable[Tally]:
    """C15: one part, even ones the Rego engines, odd ones the joined decider. A short one is both."""
    if part.is_short or part.number % 2 == 0:
        yield _rego(part)
    if part.is_short or part.number % 2:
        yield from _joined(part)


def _rego(part: Part) -> Tally:
    decisions, seed = part.size(PER_PART, 200), part.chance().randrange(2**32)
    with opa.running() as server:
        engines = [RegoWorker(deadline_seconds=5.0), OpaServer(server.origin, opa.TOKEN, deadline_seconds=5.0)]
        counted = asyncio.run(compare([*engines, Reference()], decisions, seed))
    return Tally(
        guarantee="P7",
        tried="random Rego: worker, OPA server, reference",
        times=counted.decisions,
        failures=tuple(f"{asked.decode()}: {answers}" for _, asked, answers in counted.differences),
        figures={"denials": counted.denied.total()},
    )


def _joined(part: Part) -> Iterator[Tally]:
    draw, failures, permits = part.chance(), list[str](), 0
    rounds = part.size(PER_PART, 200) // PER_BUNDLE
    for _ in range(rounds):
        texts = _some(draw)
        questions = [random_question(draw) for _ in range(PER_BUNDLE)]
        for question, found, expected in _decided(texts, questions):
            permits += found == "permit"
            if found != expected:
                failures.append(f"{question}: {found}, and by the reference {expected}, under {texts}")
    yield Tally(
        guarantee="P7",
        tried="random Cedar rules and questions: joined decider and reference",
        times=rounds * PER_BUNDLE,
        failures=tuple(failures),
        figures={"permits": permits},
    )
    yield _erring(part, draw)


def _erring(part: Part, draw: random.Random) -> Tally:
    """Rules that err beside the sound ones: whatever was permitted is refused as an error."""
    tried, passed = part.size(ERRING_PER_PART, 6), list[str]()
    for number in range(tried):
        effect, condition = draw.choice(("forbid", "permit")), _ERRING[number % len(_ERRING)]
        erring = f'@id("errs") @hint("Errs.") {effect} (principal, action, resource) when {{ {condition} }};'
        texts = list(_TEXTS)
        texts.insert(draw.randint(0, len(texts)), erring)
        for question, found, _ in _decided(texts, [random_question(draw) for _ in range(PER_BUNDLE)]):
            if found != "policy_error":
                passed.append(f"{question}: {found} beside `{condition}`")
    return Tally(
        guarantee="P7",
        tried="rules that err beside sound ones",
        times=tried,
        failures=tuple(passed),
        figures={"questions": tried * PER_BUNDLE},
    )


def _some(draw: random.Random) -> list[str]:
    """The base bundle's rules, some left out, some forbids turned into permits and the other way round."""
    texts = [text for text in _TEXTS if draw.random() < 0.9]
    for place, text in enumerate(texts):
        if draw.random() < 0.05:
            before, after = ("forbid (", "permit (") if "forbid (" in text else ("permit (", "forbid (")
            texts[place] = text.replace(before, after)
    draw.shuffle(texts)
    return texts


def _decided(texts: list[str], questions: list[Question]) -> list[tuple[Question, str, str]]:
    """Each question with what the decider answers, and what the references do."""
    text, data = "\n".join(texts), bundles.base()["data"]
    decided = bundle(policies=text)

    async def story(worker: RegoWorker) -> list[str]:
        decider = Decider(decided, contracts().values(), worker)
        await decider.load()
        answers = [await decider.decide(each) for each in questions]
        return [each.reason if each.verdict is not Verdict.PERMIT else "permit" for each in answers]

    policies, schema = cedarpy.PolicySet.from_str(text), cedarpy.Schema.from_str(cedar_schema().text)
    pairs = []
    for question, found in zip(questions, with_worker(story), strict=True):
        decision, rules, errors = unsliced(question, policies, schema)
        denied, _ = base_rules(_seen(question), data)
        forbids = len(rules) if decision == "Deny" else 0
        is_governance = contracts()[question.action].family.value == "governance"
        expected = verdict(decision, errors, forbids, len(denied), 0, is_governance=is_governance)
        pairs.append((question, found, expected))
    return pairs


def _seen(question: Question) -> dict[str, object]:
    """What the base bundle's Rego reads of a question."""
    return {
        "action": question.action,
        "principal": {"id": question.principal.id},
        "resource": {"type": question.resource.type, "id": question.resource.id},
        "risk": question.context["risk"],
        "now": question.context["now"],
    }


def _split(text: str) -> list[str]:
    """One text for each rule: each begins with its `@id`."""
    return ["@id" + rule for rule in text.split("@id")[1:]]


_TEXTS = _split(bundles.base()["policies"])
