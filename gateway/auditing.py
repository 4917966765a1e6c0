"""The log for auditors: pages, exports, checkpoints, and the keys to verify them with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from gateway.answers import Reply
from gateway.errors import NotFound
from gateway.keys_file import KeysFile
from gateway.ledger import LedgerUnavailable
from gateway.storage.books import Books
from gateway.storage.records import Records
from proofs import checkpoints, export, shapes
from proofs.export import Header, Record


class Auditing:
    """Shows the log."""

    def __init__(
        self, records: Records, keys_file: KeysFile, books: Books, *, tenants: Sequence[str], environment: str
    ) -> None:
        self._records = records
        self._keys_file = keys_file
        self._books = books
        self._tenants = tenants
        self._environment = environment

    async def entries(self, tenant: str, after: int) -> Reply:
        """200: a page of entries in order."""
        return Reply(status=200, document={"entries": await self._records.entries(tenant, after=after)})

    async def export(self, tenant: str) -> AsyncIterator[bytes]:
        """
        The whole log of a tenant as JSON lines (`proofs.export`), page by page.

        It ends at the checkpoint that is the newest now, also when the log grows meanwhile. A page that cannot be read
        breaks the stream: the header says how much there should have been.
        """
        size, covered = await self._records.extent(tenant)
        header = Header(tenant=tenant, environment=self._environment, size=size, checkpoints=covered)
        return self._pages(header)

    async def _pages(self, header: Header) -> AsyncIterator[bytes]:
        yield export.header_line(header)
        after = 0
        while after < header.size:
            lines: list[bytes] = []
            for seq, body, salt, payload, checkpoint in await self._records.page(
                header.tenant, after=after, until=header.size
            ):
                after = seq
                lines.append(export.entry_line(Record(body=body, salt=salt, payload=payload)))
                if checkpoint is not None:
                    lines.append(export.checkpoint_line(checkpoints.parse(checkpoint)))
            if not lines:
                raise LedgerUnavailable("entries below the newest checkpoint are missing", is_known=True)
            yield b"".join(lines)

    async def checkpoint(self, tenant: str) -> Reply:
        """200: the newest signed checkpoint. Public, so that anybody can keep one and compare later."""
        known = tenant in self._tenants and shapes.NAME.fullmatch(tenant)
        found = await self._records.checkpoint(tenant) if known else None
        if found is None:
            raise NotFound("unknown_tenant", "say ?tenant=NAME")
        return Reply(status=200, document=found)

    async def keys(self) -> Reply:
        """200: the keys file that `python -m proofs verify` takes."""
        return Reply(status=200, document={}, content=await self._keys_file.content())

    async def can_record(self) -> bool:
        """Whether the database answers, and is one that may be written to."""
        if self._books.is_refusing:
            return False
        try:
            await self._records.checkpoint(self._tenants[0])
        except LedgerUnavailable:
            return False
        return True
