"""What every Rego engine takes and gives: the rules of a bundle, and an answer that is read strictly.

Two engines evaluate Rego: a worker process (`rego`, the default) and an OPA server (`opa`, where one is configured);
`rego_shadow` asks both. One conformance suite holds both to the same answers. An answer is accepted only if it is
exactly `{"deny": […], "obligations": […]}` with rule ids from the bundle's closed lists.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from policies.cedar import RuleHit

BYTES_MAX = 64 * 1024
"""Largest answer of an engine that is read."""
KEPT_MAX = 1024
"""Answers are few and repeat: as many of a bundle are kept as read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoRules:
    """The Rego part of a bundle."""

    module: str
    """One module, `package lockgate`, whose `decision` is asked for."""
    data: Mapping[str, Any]
    deny: Mapping[str, str]
    """Closed list of rule ids that may deny, each with its hint."""
    obligations: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoAnswer:
    """What Rego said about one question. It never permits: no denial is not a grant."""

    deny: tuple[RuleHit, ...] = ()
    obligations: tuple[RuleHit, ...] = ()
    errors: tuple[str, ...] = ()
    """`undefined`, `misshapen`, `unknown_rule` or `failed`. Not empty: a policy error, whatever else holds."""


UNDEFINED = RegoAnswer(errors=("undefined",))
MISSHAPEN = RegoAnswer(errors=("misshapen",))
FAILED = RegoAnswer(errors=("failed",))
_UNKNOWN_RULE = RegoAnswer(errors=("unknown_rule",))


class RegoEngine(Protocol):
    """What evaluates Rego. Belongs to one event loop."""

    @property
    def loaded(self) -> frozenset[str]:
        """The bundles that can be asked about."""
        ...

    @property
    def is_answering(self) -> bool:
        """Whether it answered when it was last asked, as far as anybody knows. Asks nothing."""
        ...

    async def start(self) -> None:
        """Be ready for `load`."""
        ...

    async def close(self) -> None:
        """End; what is in flight is unavailable."""
        ...

    async def reach(self) -> None:
        """Raise `EngineUnavailable` unless it can be asked now."""
        ...

    async def load(self, name: str, rules: RegoRules) -> None:
        """Take a bundle, so that `ask` can name it. Raises `PolicyFault` when it does not build."""
        ...

    async def drop(self, name: str) -> None:
        """Forget a bundle that is no longer asked about."""
        ...

    def ask(self, name: str, projection: bytes) -> Awaitable[RegoAnswer]:
        """Send a question about a loaded bundle. Awaiting it may raise `EngineUnavailable`: nothing was decided."""
        ...


def read(decision: Any, rules: RegoRules) -> RegoAnswer:
    """A decision as an answer. Strict: whatever is not exactly the expected shape is an error."""
    match decision:
        case {"deny": list(deny), "obligations": list(obligations), **more} if not more:
            hits = _hits(deny, "deny", rules.deny), _hits(obligations, "obligation", rules.obligations)
        case _:
            return MISSHAPEN
    if hits[0] is None or hits[1] is None:
        return _UNKNOWN_RULE
    return RegoAnswer(deny=hits[0], obligations=hits[1])


def _hits(
    found: list[Any], effect: Literal["deny", "obligation"], known: Mapping[str, str]
) -> tuple[RuleHit, ...] | None:
    if not all(isinstance(each, str) and each in known for each in found):
        return None
    return tuple(RuleHit(engine="rego", id=each, effect=effect, hint=known[each]) for each in sorted(set(found)))
