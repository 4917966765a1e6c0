"""The level of autonomy that an agent stands at: what persons have set, less what rules have lowered since.

Both kinds of change are entries of the tenant's log, and only their order counts: no clock, and nothing that passes by
itself, ever raises a level. A level that a person sets for one action goes before the level set for all. A lowering
holds for an action until a person sets the level that the action goes by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

NEW = 1
"""An agent of which nobody ever set a level asks for every write."""
EVERY = "*"
"""In the place of an action: all of the agent's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A level that was set by persons, or lowered by a rule."""

    action: str
    """The tool, or `*`: every one without a level of its own where it was set, every one where it was lowered."""
    level: int
    seq: int
    """Its entry in the tenant's log."""
    rule: str = ""
    """What lowered it; empty where persons set it."""
    at_ms: int = 0


_UNSET = Change(action=EVERY, level=NEW, seq=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Everything that says how far one agent may go."""

    sets: Mapping[str, Change] = field(default_factory=dict)
    """The newest that persons set, by action."""
    lowerings: Sequence[Change] = ()

    def current(self, action: str) -> Change:
        """
        The change that the action stands at; of `*` the one that leaves the agent most.

        Of several lowerings to one level the first is it: it is why the level is no higher.
        """
        if action == EVERY:
            return max((self.own(each) for each in {EVERY, *self.sets}), key=lambda change: change.level)
        return self.own(action)

    def own(self, action: str) -> Change:
        """The same, where `*` is what every action has without something of its own to say."""
        found = self._set(action)
        lowered = [each for each in self.lowerings if each.action in (action, EVERY) and each.seq > found.seq]
        return min((found, *lowered), key=lambda change: (change.level, change.seq))

    def since(self, action: str) -> int:
        """Where counting begins anew: the entry by which persons last set what `current` goes by, for `*` anything."""
        if action == EVERY:
            return max((change.seq for change in self.sets.values()), default=0)
        return self._set(action).seq

    def actions(self) -> Iterator[str]:
        """Those with something of their own to say, `*` first."""
        yield from sorted({EVERY, *self.sets, *(change.action for change in self.lowerings)})

    def _set(self, action: str) -> Change:
        return self.sets.get(action) or self.sets.get(EVERY) or _UNSET
