"""Is this rule ever decisive? One answer for each rule, over all its types of request.

A ladder: the highest rung that some question of some type of request shows is the answer.

1. satisfied   some question satisfies the rule; otherwise it is `dead`
2. effective   it does so where it counts: no forbid holds over a permit, some permit stands against a forbid;
               otherwise it is `shadowed`
3. decides     and no other rule says the same there: it is `decisive`; otherwise `redundant`

Removing a rule that is not decisive changes no decision. It may be kept on purpose: `@accepted("why")` says so, and
the result repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from invariants.analyses import implied, liveness
from invariants.analyses.implied import Idle
from invariants.analyses.results import Result, Verdict
from invariants.analyses.surveys import Goals, Survey
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import Term
from invariants.tool_requests import ToolRequests
from policies import replay
from policies.cedar import Rule
from policies.questions import Question

_RUNGS = ("satisfied", "effective", "decides")
_VERDICTS = (Verdict.DEAD, Verdict.SHADOWED, Verdict.REDUNDANT, Verdict.DECISIVE)


@dataclass(slots=True)
class _Climb:
    """How far a rule has come."""

    rule: Rule
    height: int = 0
    """Rungs shown."""
    where: list[Goals] = field(default_factory=list)
    """The types of request that show as many."""
    doubts: dict[int, str] = field(default_factory=dict)
    """Why the next rung may have been there although nobody saw it, by its place."""

    def reach(self, height: int, goals: Goals) -> None:
        """Note that a type of request shows so many rungs."""
        if height > self.height:
            self.height, self.where = height, []
        if height == self.height:
            self.where.append(goals)


def run(survey: Survey) -> Iterator[Result]:
    """
    `dead`, `shadowed`, `redundant` or `decisive`, with a question for the highest rung that was shown.

    Rules that others make idle come last, with the names of those that do so alone.
    """
    climbs = {rule.id: _Climb(rule) for rule in survey.rules}
    for requests in survey.types:
        rules = [rule for rule in requests.rules if climbs[rule.id].height < len(_RUNGS)]
        goals = survey.goals(requests, dict(_claims(requests, rules)))
        for rule in rules:
            _climb(climbs[rule.id], goals)
    idle: dict[str, tuple[Result, Idle]] = {}
    for climb in climbs.values():
        for action, refused in survey.refused.items():
            if climb.height < len(_RUNGS) and liveness.covers(climb.rule, survey.job.schema.typed, (action,)):
                climb.doubts.setdefault(climb.height, refused.reason_code)
        result = _result(survey, climb)
        if (found := _idle(climb, result)) is None:
            yield result
        else:
            idle[climb.rule.id] = result, found
    names = implied.names(survey, (found for _, found in idle.values()))
    yield from (replace(result, rules=names[rule]) for rule, (result, _) in idle.items())


def _claims(requests: ToolRequests, rules: Iterable[Rule]) -> Iterator[tuple[tuple[str, str], Term]]:
    """The three rungs of each of the rules."""
    terms = requests.universe.terms
    satisfied = {rule.id: requests.satisfied(rule) for rule in requests.rules}
    of = {
        effect: {rule.id: satisfied[rule.id] for rule in requests.rules if rule.effect == effect}
        for effect in ("permit", "forbid")
    }
    counts = {
        "permit": terms.negation(terms.disjunction(of["forbid"].values())),
        "forbid": terms.disjunction(of["permit"].values()),
    }
    for rule in rules:
        effective = terms.both(satisfied[rule.id], counts[rule.effect])
        others = terms.disjunction(term for name, term in of[rule.effect].items() if name != rule.id)
        claims = (satisfied[rule.id], effective, terms.both(effective, terms.negation(others)))
        yield from zip(((rung, rule.id) for rung in _RUNGS), claims, strict=True)


def _climb(climb: _Climb, goals: Goals) -> None:
    """Ask for the highest rung first: most rules are decisive at once. Each rung implies those below."""
    doubts: dict[int, str] = {}
    for place in reversed(range(max(climb.height - 1, 0), len(_RUNGS))):
        match goals.answer(_RUNGS[place], climb.rule.id):
            case Answer.SATISFIABLE:
                climb.reach(place + 1, goals)
                break
            case Answer.UNSATISFIABLE:
                doubts.clear()
            case Answer.UNKNOWN:
                doubts[place] = goals.doubt
    else:
        if reason := goals.emptiness:
            doubts = dict.fromkeys(range(len(_RUNGS)), reason)
    climb.doubts |= doubts


def _result(survey: Survey, climb: _Climb) -> Result:
    rule = climb.rule
    if climb.height == 0:
        return liveness.bottom(rule, climb.doubts.get(0, ""), survey.job.schema.typed)
    blank = liveness.blank(rule)
    if climb.height in climb.doubts:
        return replace(blank, reason=climb.doubts[climb.height])
    verdict = _VERDICTS[climb.height]
    match verdict:
        case Verdict.SHADOWED:
            reason = "always_forbidden" if rule.effect == "permit" else "nothing_permits"
        case Verdict.REDUNDANT:
            reason = "says_the_same"
        case _:
            reason = "acceptance_unneeded" if blank.accepted else ""
    goals, shows = climb.where[0], _RUNGS[climb.height - 1]
    engine_agrees = _replay(survey, rule, goals.requests, shows)
    return goals.shown(replace(blank, verdict=verdict, reason=reason), (shows, rule.id), shows, engine_agrees)


def _idle(climb: _Climb, result: Result) -> Idle | None:
    """A rule that others make idle. Where a solver did not know whether it is idle everywhere, nobody is named."""
    if result.reason not in ("always_forbidden", "says_the_same") or climb.doubts:
        return None
    return Idle(
        rule=climb.rule.id,
        rung=_RUNGS[climb.height - 1],
        where=tuple(climb.where),
        shown=replay.read(result.witnesses[0].question),
    )


def _replay(survey: Survey, rule: Rule, requests: ToolRequests, shows: str) -> Callable[[Question], bool]:
    """What the real engine must do with a question, with all rules and with some of them."""
    action, is_permit = requests.action.name, rule.effect == "permit"
    rest = [each for each in requests.rules if each.id != rule.id]

    def is_so(question: Question) -> bool:
        allowed = survey.engine.raw_allow(question)
        match shows:
            case "satisfied":
                return rule.id in {hit.id for hit in survey.alone([rule], action).decide(question).rules}
            case "effective" if is_permit:
                return allowed
            case "effective":
                permits = survey.alone([each for each in rest if each.effect == "permit"], action)
                return not allowed and permits.raw_allow(question)
            case _:
                return allowed is is_permit and survey.alone(rest, action).raw_allow(question) is not is_permit

    return is_so
