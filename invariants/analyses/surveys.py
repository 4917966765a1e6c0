"""A bundle laid open for questions: every type of request encoded once, the engine beside it.

A form without exact meaning takes its tool out of the survey and into `refused`; the analyses say unknown of it. What
can never be is said by both solvers; what can be is shown by a question, and done by the engine.

Loads the solvers: for the worker process and for commands at a terminal, never for the gateway's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from invariants import counterexamples, tool_requests
from invariants.analyses.results import Analysis, Result, Verdict, Witness
from invariants.errors import Unsupported
from invariants.jobs import Job
from invariants.meaning import schemas
from invariants.solving import cvc5_backend, smtlib
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import BeyondSolvers, Term
from invariants.solving.z3_backend import Solver
from invariants.tool_requests import ToolRequests
from policies import cedar, fitting
from policies.cedar import PRINCIPAL_TYPES, Engine, Rule
from policies.questions import Question
from policies.schema import CedarSchema

Replay = Callable[[Question], bool]
"""Whether the real engine does with a question what the solver says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Every type of request of a bundle."""

    job: Job
    rules: tuple[Rule, ...]
    types: tuple[ToolRequests, ...]
    refused: Mapping[str, Unsupported]
    """By tool: the form that has no exact meaning."""
    engine: Engine

    def unknown(self, analysis: Analysis, group: str = "") -> Iterator[Result]:
        """What is to be said of the refused tools, or of those of a group."""
        for action, unsupported in self.refused.items():
            if not group or group in self.job.schema.typed.actions[action].groups:
                for principal in PRINCIPAL_TYPES:
                    yield Result(
                        analysis=analysis,
                        action=action,
                        principal=principal,
                        verdict=Verdict.UNKNOWN,
                        reason=unsupported.reason_code,
                        where=unsupported.where,
                    )

    def alone(self, rules: Iterable[Rule], action: str) -> Engine:
        """The real engine with some of the rules, for questions about one tool."""
        return engine(rules, self.job.schema, action)

    def goals(self, requests: ToolRequests, claims: Mapping[tuple[str, str], Term]) -> Goals:
        """Claims about one type of request, ready to be asked about."""
        return Goals(requests, claims, self.job)


def survey(job: Job) -> Survey:
    """Lay a bundle open. Raises `PolicyFault` when the policies cannot be read at all."""
    rules = cedar.parse(job.policies)
    types, refused = encoded(rules, job, job.schema.typed.actions)
    return Survey(
        job=job,
        rules=rules,
        types=types,
        refused=refused,
        engine=Engine(job.policies, job.schema),
    )


def encoded(
    rules: Iterable[Rule], job: Job, actions: Iterable[str]
) -> tuple[tuple[ToolRequests, ...], Mapping[str, Unsupported]]:
    """Rules over the types of request of some tools of a job's schema; and the tools with a form that is refused."""
    listed, typed = tuple(rules), job.schema.typed
    general = schemas.of_tools(typed)
    types: list[ToolRequests] = []
    refused: dict[str, Unsupported] = {}
    for name in actions:
        try:
            found = tool_requests.encode(listed, typed, typed.actions[name], job.resource_arguments.get(name), general)
            for requests in found:
                requests.given()  # A footprint too large to be closed is refused here, and not in mid-question.
        except Unsupported as unsupported:
            refused[name] = unsupported
        except BeyondSolvers:
            refused[name] = Unsupported("string_beyond_solvers", f"contract of `{name}`")
        else:
            types += found
    return tuple(types), refused


def engine(rules: Iterable[Rule], schema: CedarSchema, action: str) -> Engine:
    """The real engine with these rules, for questions about one tool: made in a moment, for a replay."""
    narrowed = replace(schema.typed, actions={action: schema.typed.actions[action]})
    return Engine(tuple(rules), replace(schema, typed=narrowed))


class Goals:
    """Claims about one type of request. The solver is asked only about those that somebody looks at."""

    __slots__ = (
        "_answers",
        "_claims",
        "_given",
        "_job",
        "_places",
        "_second",
        "_solver",
        "_terms",
        "doubt",
        "requests",
    )

    def __init__(self, requests: ToolRequests, claims: Mapping[tuple[str, str], Term], job: Job) -> None:
        self.requests = requests
        self._job = job
        self._claims = claims
        self._terms = (requests.universe.terms.true, *claims.values())
        self._places = {term.number: place for place, term in enumerate(self._terms)}
        self._given: tuple[Term, ...] = ()
        self._solver: Solver | None = None
        self._second: tuple[Answer, ...] = ()
        self._answers: dict[int, Answer] = {}
        self.doubt = ""
        """Why the newest answer that is not known is not."""

    def answer(self, *claim: str) -> Answer:
        """Whether a claim can hold. Unsatisfiable: it never does, over all requests of the type."""
        return self._settled(self.claim(*claim))

    def claim(self, *claim: str) -> Term:
        """The claim itself."""
        return self._claims[claim[0], claim[1]]

    def blank(self, analysis: Analysis, subject: str = "") -> Result:
        """A result about this type of request before anything is known."""
        return Result(
            analysis=analysis,
            subject=subject,
            action=self.requests.action.name,
            principal=self.requests.principal,
            verdict=Verdict.UNKNOWN,
        )

    def unknown(self, blank: Result) -> Result:
        """The result when an answer that it needs is not known."""
        return replace(blank, verdict=Verdict.UNKNOWN, reason=self.doubt)

    def never(self, blank: Result, claim: tuple[str, str], shows: str, replay: Replay) -> Result:
        """`holds` where the claim cannot hold, over all requests; `fails` with a question where it can."""
        match self.answer(*claim):
            case Answer.UNSATISFIABLE:
                return self.resting(replace(blank, verdict=Verdict.HOLDS))
            case Answer.SATISFIABLE:
                return self.shown(replace(blank, verdict=Verdict.FAILS), claim, shows, replay)
            case Answer.UNKNOWN:
                return self.unknown(blank)

    @property
    def emptiness(self) -> str:
        """Why *never* would be an empty word here: no request is known to fit the assumptions. Empty: one does."""
        match self._settled(self.requests.universe.terms.true):
            case Answer.SATISFIABLE:
                return ""
            case Answer.UNSATISFIABLE:
                return "assumptions_contradict"
            case Answer.UNKNOWN:
                return self.doubt

    def resting(self, result: Result) -> Result:
        """A result that rests on something never being so."""
        reason = self.emptiness
        return replace(result, verdict=Verdict.UNKNOWN, reason=reason) if reason else result

    def shown(self, result: Result, claim: tuple[str, str], shows: str, replay: Replay) -> Result:
        """The result with a plain question for which a claim that can hold does; not without the engine's consent."""
        action = self.requests.action.name
        found = counterexamples.question(self.requests, self._claims[claim], self._job.samples.get(action, {}))
        if found is None:
            return replace(result, verdict=Verdict.UNKNOWN, reason="solver_limit", witnesses=())
        if fitting.misfit(found, self._job.schema.typed) is not None or not replay(found):
            return replace(result, verdict=Verdict.ENCODING_BUG, reason="replay_differs", witnesses=())
        witness = Witness(shows=shows, question=found.document())
        return replace(result, witnesses=(*result.witnesses, witness))

    def _settled(self, claim: Term) -> Answer:
        if claim is self.requests.universe.terms.false:
            return Answer.UNSATISFIABLE  # Most of what a rule's scope decides is folded away.
        if claim.number not in self._answers:
            self._answers[claim.number] = self._asked(self._places[claim.number])
        return self._answers[claim.number]

    def _asked(self, place: int) -> Answer:
        """Z3's answer; that something can never hold is believed of both solvers only."""
        resources = self._job.limits.resources
        if self._solver is None:
            self._given = self.requests.given()
            self._solver = Solver(self._given, resources, self._terms)
        answer = self._solver.settle(place)
        if answer is not Answer.UNSATISFIABLE:
            self.doubt = "solver_limit" if answer is Answer.UNKNOWN else self.doubt
            return answer
        if not self._second:
            self._second = cvc5_backend.settle_goals(smtlib.scripted(self._given, self._terms), resources)
        if self._second[place] is Answer.UNSATISFIABLE:
            return answer
        self.doubt = "second_solver_limit" if self._second[place] is Answer.UNKNOWN else "solvers_disagree"
        return Answer.UNKNOWN
