"""Bundles, run-time tools, certificates and activations as rows.

Contents are stored by digest and never change; what moves is whether they were published or registered. An activation
is evidence: a row per revision, the greatest in force. Each function does one thing in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.storage.connections import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBundle:
    """An uploaded bundle with what was found out about it."""

    digest: str
    content: bytes
    verdict: dict[str, Any]
    published_seq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTool:
    """An uploaded tool declaration."""

    digest: str
    name: str
    document: bytes
    verdict: dict[str, Any]
    seq: int | None
    """Of the act that registered it; None while it is only uploaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What a tenant put into force, and when."""

    revision: int
    digest: str
    certificate_digest: str
    schema_digest: str
    at_ms: int


def add_bundle(cursor: Cursor, tenant: str, digest: str, content: bytes, verdict: dict[str, Any]) -> None:
    """Store an uploaded bundle; uploaded again, the newer verdict counts."""
    cursor.execute(
        """insert into lockgate.bundles (tenant, digest, content, verdict) values (%s, %s, %s, %s)
        on conflict (tenant, digest) do update set verdict = excluded.verdict""",
        (tenant, digest, content, orjson.dumps(verdict)),
    )


def bundle(cursor: Cursor, tenant: str, digest: str) -> StoredBundle | None:
    """A stored bundle."""
    cursor.execute(
        "select digest, content, verdict, published_seq from lockgate.bundles where tenant = %s and digest = %s",
        (tenant, digest),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    return StoredBundle(digest=row[0], content=row[1], verdict=orjson.loads(row[2]), published_seq=row[3])


def bundles(cursor: Cursor, tenant: str) -> list[dict[str, Any]]:
    """Every bundle of a tenant with its standing."""
    cursor.execute(
        """select b.digest, b.verdict, b.published_seq, max(a.revision) from lockgate.bundles b
        left join lockgate.activations a on a.tenant = b.tenant and a.digest = b.digest
        where b.tenant = %s group by b.tenant, b.digest order by max(a.revision) desc nulls last""",
        (tenant,),
    )
    return [
        {
            "digest": digest,
            "passed": orjson.loads(verdict)["passed"],
            "published": published is not None,
            **({} if revision is None else {"active_as": revision}),
        }
        for digest, verdict, published, revision in cursor.fetchall()
    ]


def publish(cursor: Cursor, tenant: str, digest: str, seq: int) -> None:
    """Mark a stored bundle as published."""
    cursor.execute(
        "update lockgate.bundles set published_seq = coalesce(published_seq, %s) where tenant = %s and digest = %s",
        (seq, tenant, digest),
    )


def add_tool(cursor: Cursor, tenant: str, stored: StoredTool) -> None:
    """Store an uploaded tool declaration; uploaded again, the newer verdict counts."""
    cursor.execute(
        """insert into lockgate.tools (tenant, digest, name, document, verdict) values (%s, %s, %s, %s, %s)
        on conflict (tenant, digest) do update set verdict = excluded.verdict""",
        (tenant, stored.digest, stored.name, stored.document, orjson.dumps(stored.verdict)),
    )


def tool(cursor: Cursor, tenant: str, digest: str) -> StoredTool | None:
    """A stored tool declaration."""
    cursor.execute(f"{_TOOLS} where tenant = %s and digest = %s", (tenant, digest))
    row = cursor.fetchone()
    return None if row is None else _tool(row)


def uploaders(cursor: Cursor, tenant: str, digest: str) -> list[str]:
    """
    The persons who handed in the bytes of that digest, a bundle or a declaration, sorted.

    Read from the log, where nobody takes them out again: also who was not the first, or failed with it.
    """
    cursor.execute(
        """select body from lockgate.entries
        where tenant = %s and kind in ('BUNDLE', 'TOOL') and position(%s::bytea in body) > 0""",
        (tenant, digest.encode()),
    )
    entries = [orjson.loads(row[0]) for row in cursor.fetchall()]
    return sorted({each["principal"].removeprefix("person/") for each in entries if each.get("digest") == digest})


def registered_tools(cursor: Cursor, tenant: str) -> list[StoredTool]:
    """The declarations registered at run time, in the order in which they were."""
    cursor.execute(f"{_TOOLS} where tenant = %s and seq is not null order by seq", (tenant,))
    return [_tool(row) for row in cursor.fetchall()]


def register_tool(cursor: Cursor, tenant: str, digest: str, seq: int) -> bool:
    """Mark a declaration as registered. False when it is not stored or was registered before."""
    cursor.execute(
        "update lockgate.tools set seq = %s where tenant = %s and digest = %s and seq is null", (seq, tenant, digest)
    )
    return cursor.rowcount == 1


def add_certificate(cursor: Cursor, tenant: str, digest: str, bundle_digest: str, schema: str, content: bytes) -> None:
    """Store a signed certificate by its digest."""
    cursor.execute(
        """insert into lockgate.certificates (tenant, digest, bundle, schema_digest, content)
        values (%s, %s, %s, %s, %s) on conflict (tenant, digest) do nothing""",
        (tenant, digest, bundle_digest, schema, content),
    )


def certificate(cursor: Cursor, tenant: str, digest: str) -> bytes | None:
    """A signed certificate by its digest."""
    cursor.execute(
        "select content from lockgate.certificates where tenant = %s and digest = %s",
        (tenant, digest),
    )
    row = cursor.fetchone()
    return None if row is None else bytes(row[0])


def certificates(cursor: Cursor, tenant: str, bundle_digest: str, schema: str) -> list[bytes]:
    """The signed certificates of a bundle over a schema, newest first."""
    cursor.execute(
        """select content from lockgate.certificates where tenant = %s and bundle = %s and schema_digest = %s
        order by added desc""",
        (tenant, bundle_digest, schema),
    )
    return [row[0] for row in cursor.fetchall()]


def activate(cursor: Cursor, tenant: str, activation: Activation, seq: int) -> None:
    """Put a revision into force. The primary key refuses a revision that exists."""
    cursor.execute(
        """insert into lockgate.activations (tenant, revision, digest, certificate_digest, schema_digest, seq, at_ms)
        values (%s, %s, %s, %s, %s, %s, %s)""",
        (
            tenant,
            activation.revision,
            activation.digest,
            activation.certificate_digest,
            activation.schema_digest,
            seq,
            activation.at_ms,
        ),
    )


def activation(cursor: Cursor, tenant: str) -> Activation | None:
    """What is in force by the tenant's own act."""
    cursor.execute(
        """select revision, digest, certificate_digest, schema_digest, at_ms from lockgate.activations
        where tenant = %s order by revision desc limit 1""",
        (tenant,),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    return Activation(revision=row[0], digest=row[1], certificate_digest=row[2], schema_digest=row[3], at_ms=row[4])


def has_incident(cursor: Cursor, tenant: str, digest: str) -> bool:
    """Whether the log holds an incident under this bundle."""
    cursor.execute("select body from lockgate.entries where tenant = %s and kind = 'INCIDENT'", (tenant,))
    return any(orjson.loads(row[0]).get("bundle") == digest for row in cursor.fetchall())


_TOOLS = "select digest, name, document, verdict, seq from lockgate.tools"


def _tool(row: tuple[Any, ...]) -> StoredTool:
    return StoredTool(digest=row[0], name=row[1], document=row[2], verdict=orjson.loads(row[3]), seq=row[4])
