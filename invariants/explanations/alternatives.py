"""What goes into an explanation and what comes out. Nothing here needs a solver.

An alternative is a change of what the requester can change: arguments, the reason code, and approvals that are still to
be given. Facts, principal, roles and time stay; risk follows from its expression. Whoever shows an alternative replays
it first: `changed` makes the question that is put to both engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum, unique
from typing import Any

from invariants.errors import InvariantError
from policies.questions import Question
from policies.schema import CedarSchema
from tool_registry.contracts import Contract

APPROVALS = "approvals"
REASON_CODE = "reason_code"
ARGUMENTS = "arguments."

Scalar = int | str | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A recorded question, and everything that it was decided under."""

    question: Question
    policies: str
    invariants: str
    schema: CedarSchema
    contract: Contract
    fixed: frozenset[str] = frozenset()
    """Arguments that may not change, beside those by which the facts were read."""
    resources: int = 200_000
    """The solver's own deterministic unit, for each check: a hundred times what one over the base bundle takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One member of the request with another value."""

    member: str
    """`arguments.NAME` or `reason_code`."""
    value: Scalar
    """The nearest value that passes."""
    low: int | None = None
    high: int | None = None
    """Of an integer that alone changes: every value between the two passes as well."""
    others: tuple[str, ...] = ()
    """Of a choice: further values that pass as well."""
    reads: tuple[str, ...] = ()
    """The facts, as `GROUP.MEMBER`, from which the bound follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A smallest change with which policies, invariants and limits permit the call."""

    changes: tuple[Change, ...] = ()
    approvals: Mapping[str, int] | None = None
    """The counts that there would have to be, `persons` among them. None: those that there are will do."""

    @property
    def members(self) -> frozenset[str]:
        """What changes."""
        return frozenset({change.member for change in self.changes} | ({APPROVALS} if self.approvals else set()))


@unique
class Kind(StrEnum):
    """What can stand in the way."""

    RULE = "rule"
    NO_PERMIT = "no_permit"
    """No rule permits it: there is no single one to name."""
    INVARIANT = "invariant"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Something that refuses the call whatever the requester changes."""

    kind: Kind
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the solver found out about one refused call."""

    alternatives: tuple[Alternative, ...] = ()
    """Smallest first: fewest members, approvals before arguments, nearest values."""
    detours: tuple[Alternative, ...] = ()
    """One for each lower risk: for where Rego, which the solver does not know, refuses all of the others."""
    obstacles: tuple[Obstacle, ...] = ()
    """Set exactly when there is no alternative."""
    is_joint: bool = False
    """Whether each obstacle could be met, and only all of them cannot."""
    askers: tuple[str, ...] = ()
    """Roles of which one would do for a person to ask for this, once approved, where the principal cannot."""
    asks_same: bool = True
    """Whether they could ask for it as it stands; otherwise only with other arguments."""
    unknown: str = ""
    """Why nothing was found out, by its reason code. All else is empty then."""

    def document(self) -> dict[str, Any]:
        """As it crosses from the solver's process."""
        return asdict(self)


def changed(question: Question, alternative: Alternative, risk: Callable[[Mapping[str, Any]], int]) -> Question:
    """The question as it would be asked then. `risk` is the contract's expression, evaluated anew."""
    context = {**question.context, "arguments": dict(question.context["arguments"])}
    for change in alternative.changes:
        if change.member == REASON_CODE:
            context[REASON_CODE] = change.value
        else:
            context["arguments"][change.member.removeprefix(ARGUMENTS)] = change.value
    if alternative.approvals is not None:
        context["approvals"] = dict(alternative.approvals)
    context["risk"] = risk(context)
    return replace(question, context=context)


def read(document: Any) -> Explanation:
    """
    An explanation as the solver's process wrote it.

    Raises `InvariantError` for anything else: what a process writes whose memory ran out is not to be believed.
    """
    try:
        return Explanation(
            alternatives=tuple(_alternative(each) for each in document["alternatives"]),
            detours=tuple(_alternative(each) for each in document["detours"]),
            obstacles=tuple(Obstacle(kind=Kind(each["kind"]), id=str(each["id"])) for each in document["obstacles"]),
            is_joint=bool(document["is_joint"]),
            askers=tuple(str(each) for each in document["askers"]),
            asks_same=bool(document["asks_same"]),
            unknown=str(document["unknown"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvariantError("not an explanation") from error


def _alternative(document: Any) -> Alternative:
    approvals = document["approvals"]
    return Alternative(
        changes=tuple(
            Change(**{**each, "others": tuple(each["others"]), "reads": tuple(each["reads"])})
            for each in document["changes"]
        ),
        approvals=None if approvals is None else {str(name): int(count) for name, count in approvals.items()},
    )
