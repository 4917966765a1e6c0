"""What this process has written is still there: a database that is set back under a running gateway is noticed.

Every batch compares the heads that it locks with the newest checkpoint that this process committed; a new session also
looks that very checkpoint up, because a restored database may have grown past its size since. Start-up makes the same
comparison with the files (`kept_checkpoints`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.storage import connections
from gateway.storage.connections import Connection
from gateway.storage.sealing import Standing
from proofs.checkpoints import Checkpoint


class SetBack(Exception):
    """The database lacks what this process committed to it. Nothing more may be written until a person has looked."""


class Continuity:
    """Remembers the newest checkpoint of each chain. Used by one thread."""

    def __init__(self) -> None:
        self._newest: dict[str, Checkpoint] = {}

    def note(self, committed: Iterable[Checkpoint]) -> None:
        """Take note of what was committed."""
        self._newest.update((checkpoint.tenant, checkpoint) for checkpoint in committed)

    def require_heads(self, heads: Mapping[str, Standing]) -> None:
        """Raise `SetBack` when a locked head stands before what was committed."""
        for tenant, standing in heads.items():
            newest = self._newest.get(tenant)
            if newest is not None and standing.head.size < newest.size:
                raise SetBack(f"log of `{tenant}`: ends at entry {standing.head.size}, {newest.size} were committed")

    def require_stored(self, connection: Connection) -> None:
        """Raise `SetBack` unless the database of a new session holds every checkpoint noted."""
        if not self._newest:
            return
        with connections.transaction(connection, sorted(self._newest)) as cursor:
            stored = cursor.execute(
                """select u.tenant, c.root from unnest(%s::text[], %s::bigint[]) as u(tenant, size)
                left join lockgate.checkpoints c on c.tenant = u.tenant and c.size = u.size""",
                (list(self._newest), [checkpoint.size for checkpoint in self._newest.values()]),
            ).fetchall()
        for tenant, root in stored:
            if root is None or bytes(root) != self._newest[tenant].root:
                raise SetBack(f"log of `{tenant}`: checkpoint {self._newest[tenant].size} is not in the database")
