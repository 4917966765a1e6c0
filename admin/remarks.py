"""What a reviewer asks of rules beyond the gate's own questions, answered as remarks: one step for each question.

A remark is never in the way; only where the engine contradicts a solver the proof of the bundle is in doubt as well.
What the gate refuses too (a forbid that errs, a dead rule that nobody accepted) is a failure of the step `proof`
already, and told here once more in its place.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

from admin import display, questions
from admin.candidates import Candidate
from admin.steps import Status, Step
from invariants.analyses.asking import Answers, Inquiry, ask
from invariants.analyses.results import Analysis, Result, Verdict

ASKED = tuple(each for each in Analysis if each is not Analysis.DIFFERENCE)
_QUIET = (Verdict.HOLDS, Verdict.DECISIVE, Verdict.DEPENDS)
_COUNTED_ONLY = (*_QUIET, Verdict.OUTSIDE)
_GROUPED = (Verdict.ALWAYS_ALLOWS, Verdict.ALWAYS_DENIES)


def steps(candidate: Candidate) -> Iterator[Step]:
    """One step for each question. Raises `PolicyFault` where the rules cannot be read at all."""
    with display.working("asking what reviewers ask") as say:
        answers = asyncio.run(ask(Inquiry(job=candidate.job, questions=ASKED), lambda result: say(_asking(result))))
    for analysis in ASKED:
        found = [each for each in answers.results if each.analysis is analysis]
        yield Step(name=analysis.value, status=_status(found, answers), details=tuple(_details(found, answers)))


def _asking(result: Result) -> str:
    return f"asking {result.analysis.value}: {result.subject or result.action}"


def _status(found: Sequence[Result], answers: Answers) -> Status:
    said = {each.verdict for each in found}
    if Verdict.ENCODING_BUG in said:
        return Status.BAD
    if not found or answers.missing:
        return Status.REMARK
    return Status.OK if said <= {*_COUNTED_ONLY} else Status.REMARK


def _details(found: Sequence[Result], answers: Answers) -> Iterator[str]:
    counts = Counter(each.verdict for each in found)
    listed = ", ".join(f"{_words(verdict)} {counts[verdict]}" for verdict in Verdict if counts[verdict])
    missing = f"not all asked: {answers.missing}" if answers.missing else "nothing to ask"
    yield ", ".join(filter(None, (listed, missing if answers.missing or not found else "")))
    for verdict in _GROUPED:
        if counts[verdict]:
            yield f"{_words(verdict)}: " + ", ".join(_subject(each) for each in found if each.verdict is verdict)
    for each in found:
        if each.verdict not in (*_COUNTED_ONLY, *_GROUPED):
            yield _remark(each)


def _remark(result: Result) -> str:
    parts = [f"{_subject(result)}: {_words(result.verdict)}"]
    if result.reason:
        parts.append(f" ({result.reason})")
    if result.where:
        parts.append(f" at {result.where}")
    if result.rules:
        parts.append(f" because of {', '.join(f'`{rule}`' for rule in result.rules)}")
    if result.accepted:
        parts.append(f"; accepted: {result.accepted}")
    elif result.verdict is Verdict.FAILS and result.witnesses:
        parts.append(f": {questions.sentence(result.witnesses[0].question)}")
    return "".join(parts)


def _subject(result: Result) -> str:
    over = f"{result.action} by {result.principal}" if result.principal else result.action
    rule = f"`{result.subject}`" if result.subject else ""
    return " ".join(filter(None, (rule, over))) or "all"


def _words(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")
