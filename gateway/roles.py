"""Roles that a person has now: those of the newest token that the gateway verified for that person.

An approval counts only while its approver has every role it was given with. The approver is not there when it is used,
so the gateway remembers what the newest token said, durably, before the request that carried the token goes on.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.errors import Unavailable
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import LedgerUnavailable
from gateway.storage import persons
from gateway.storage.desk import Desk

CACHE_MAX = 10_000  # Persons; a miss costs one write.


class RoleBook:
    """Remembers roles by person."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._known: OrderedDict[tuple[str, str], tuple[int, tuple[str, ...]]] = OrderedDict()

    async def note(self, principal: Principal) -> None:
        """Take the roles of a verified token, unless a newer one was seen. Raises `Unavailable`."""
        if principal.kind is not PrincipalKind.PERSON:
            return
        key = (principal.tenant, principal.id)
        seen = (principal.issued_at, principal.roles)
        known = self._known.get(key)
        if known is not None and (known == seen or known[0] > seen[0]):
            return
        try:
            await self._desk.ask(
                [principal.tenant],
                lambda cursor: persons.note_roles(
                    cursor, principal.tenant, principal.id, principal.roles, principal.issued_at
                ),
            )
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the roles of the token cannot be recorded") from error
        self._known[key] = seen
        if len(self._known) > CACHE_MAX:
            self._known.popitem(last=False)
