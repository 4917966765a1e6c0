"""That no text of a template contains a banned pattern: each template against each pattern, by two solvers.

Z3 is asked of the regular expressions themselves. Cvc5 gets lost in those, and is asked of a traversal of the same two
languages, as whole numbers. Both have to say no; a text that is found is replayed by the real engine before it is
shown. Whatever gives up, or does not agree, is no yes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from invariants.reports import Verdict
from invariants.solving import cvc5_backend, languages, smtlib, z3_backend
from invariants.solving.answers import Verdict as Answer
from invariants.solving.languages import Language
from invariants.solving.terms import Sort, Term, Terms
from invariants.texts import alphabets, contexts, slots, templates, traversals
from invariants.texts.alphabets import Alphabet, TooManyBlocks
from invariants.texts.dialects import Mode
from invariants.texts.documents import Banned, Texts
from invariants.texts.findings import RESOURCES, Example, TextFinding, TextJob
from invariants.texts.templates import Template
from invariants.texts.traversals import Machine, TooManyStates, Traversal
from proofs import canonical


def answers(job: TextJob, memory_bytes: int) -> Iterator[dict[str, Any]]:
    """Every template against every banned pattern, in the order of `findings.planned`."""
    # Below the process's own limit: z3 gives up where it would otherwise die.
    z3_backend.limit_memory(memory_bytes // 2)
    for finding in prove(job.texts, job.limits.resources):
        yield finding.document()


def prove(texts: Texts, resources: int = RESOURCES) -> Iterator[TextFinding]:
    """Every template against every banned pattern, one after the other."""
    for template in texts.templates:
        for banned in texts.against(template):
            yield _Obligation(template, banned, texts.mode, resources).settle()


@dataclass(frozen=True, slots=True)
class _Obligation:
    template: Template
    banned: Banned
    mode: Mode
    resources: int

    def settle(self) -> TextFinding:
        parts = self.template.parts(self.mode)
        texts = languages.sequence(*(language for _, language in parts))
        found = contexts.found(self.banned.pattern, self.mode)
        try:
            alphabet = alphabets.of((texts, found))
            traversal = traversals.traverse(texts, found, alphabet)
            if not traversal.living:
                return self.finding(Verdict.VACUOUS, "no_text")
            if not Machine.of(found, alphabet).living():
                return self.finding(Verdict.VACUOUS, "matches_nothing")
        except TooManyStates:
            return self.finding(Verdict.UNKNOWN, "too_many_states")
        except TooManyBlocks:
            return self.finding(Verdict.UNKNOWN, "too_many_characters")
        if traversal.text is not None:
            return self._refuted(alphabet, texts, found, traversal.text)
        return self._proved(alphabet, texts, found, traversal)

    def _proved(self, alphabet: Alphabet, texts: Language, found: Language, traversal: Traversal) -> TextFinding:
        terms = Terms()
        asked = _asked(terms, alphabet, texts, found)
        first = z3_backend.Solver(asked, self.resources).check()
        steps = traversals.questions(traversal, Terms())
        second = _all(cvc5_backend.settle_goals(steps))
        digests = tuple(canonical.digest(script.encode()) for script in (smtlib.script(asked), steps.questions()))
        told = {"z3": first.value, "cvc5": second.value}
        if Answer.SATISFIABLE in (first, second):
            return self.finding(Verdict.ENCODING_BUG, "solvers_differ", digests=digests, answers=told)
        if Answer.UNKNOWN in (first, second):
            return self.finding(Verdict.UNKNOWN, "solver_limit", digests=digests, answers=told)
        return self.finding(Verdict.PROVED, "holds", digests=digests, answers=told)

    def _refuted(self, alphabet: Alphabet, texts: Language, found: Language, text: str) -> TextFinding:
        terms = Terms()
        asked = _asked(terms, alphabet, texts, found)
        places = dict(zip(alphabet.members, alphabet.places, strict=True))
        placed = "".join(chr(places[ord(character)]) for character in text)
        exactly = (*asked, terms.equal(terms.symbol(Sort.TEXT, 0), terms.text(placed)))
        first = z3_backend.Solver(exactly, self.resources).check()
        second = cvc5_backend.settle(smtlib.script(exactly))
        digests = (canonical.digest(smtlib.script(exactly).encode()),)
        told = {"z3": first.value, "cvc5": second.value}
        example = self._replayed(text)
        if example is None:
            return self.finding(Verdict.ENCODING_BUG, "replay_differs", digests=digests, answers=told)
        if Answer.UNSATISFIABLE in (first, second):
            return self.finding(Verdict.ENCODING_BUG, "solvers_differ", digests=digests, answers=told)
        return self.finding(Verdict.REFUTED, "contains", digests=digests, answers=told, example=example)

    def _replayed(self, text: str) -> Example | None:
        """The text with its values and the place of the pattern, by the real engine; None where it does not agree."""
        values = templates.split(self.template.parts(self.mode), text)
        if values is None or self.template.filled(values) != text:
            return None
        if not all(slots.fits(self.template.slots[name], value, self.mode) for name, value in values.items()):
            return None
        match = slots.engine(self.banned.pattern, self.mode).search(text)
        return None if match is None else Example(values=values, text=text, start=match.start(), end=match.end())

    def finding(self, verdict: Verdict, reason: str, **rest: Any) -> TextFinding:
        return TextFinding(template=self.template.id, banned=self.banned.id, verdict=verdict, reason=reason, **rest)


def _all(told: Iterable[Answer]) -> Answer:
    """Impossible where every goal is."""
    found = set(told)
    for verdict in (Answer.SATISFIABLE, Answer.UNKNOWN):
        if verdict in found:
            return verdict
    return Answer.UNSATISFIABLE


def _asked(terms: Terms, alphabet: Alphabet, texts: Language, found: Language) -> tuple[Term, Term]:
    text = terms.symbol(Sort.TEXT, 0)
    return terms.in_language(text, alphabet.placed(texts)), terms.in_language(text, alphabet.placed(found))
