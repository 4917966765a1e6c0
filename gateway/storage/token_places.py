"""Where the values of tokens stand: a read tool, its arguments and a member of its result, never a value.

The newest look at a value is where it is found again. An erased place stays as a token that stands for nothing: the
application deletes no row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.storage.connections import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the value of a token was seen."""

    token: str
    subject: str | None
    """Whom an erasure would name: the resource of the read."""
    tool: str
    arguments: bytes
    """Canonical."""
    member: str


def note(cursor: Cursor, tenant: str, places: Sequence[Place]) -> None:
    """Keep places, each instead of a former one of its token."""
    cursor.executemany(
        """insert into lockgate.token_places (tenant, token, subject, tool, arguments, member)
        values (%s, %s, %s, %s, %s, %s)
        on conflict (tenant, token) do update set subject = excluded.subject, tool = excluded.tool,
            arguments = excluded.arguments, member = excluded.member
        where (token_places.tool, token_places.arguments, token_places.member)
            is distinct from (excluded.tool, excluded.arguments, excluded.member)""",
        # In one order, so that two looks at the same values never wait for each other.
        [
            (tenant, each.token, each.subject, each.tool, each.arguments, each.member)
            for each in sorted(places, key=lambda place: place.token)
        ],
    )


def find(cursor: Cursor, tenant: str, tokens: Sequence[str]) -> Mapping[str, Place]:
    """The places of tokens, by token; one that stands for nothing is not there."""
    cursor.execute(
        """select token, subject, tool, arguments, member from lockgate.token_places
        where tenant = %s and token = any(%s) and tool is not null""",
        (tenant, list(tokens)),
    )
    return {
        token: Place(token=token, subject=subject, tool=tool, arguments=arguments, member=member)
        for token, subject, tool, arguments, member in cursor.fetchall()
    }


def erase(cursor: Cursor, tenant: str, subject: str) -> None:
    """Forget where anything of a subject stands."""
    cursor.execute(
        # In the order in which looks write them: the writer's transaction must not meet one of theirs head on.
        """with found as (
            select token from lockgate.token_places where tenant = %s and subject = %s order by token for update)
        update lockgate.token_places set subject = null, tool = null, arguments = null, member = null
        where tenant = %s and token in (select token from found)""",
        (tenant, subject, tenant),
    )
