"""Exports leave page by page, and a search looks at the newest entries only: no log is too long for either."""

from __future__ import annotations

import asyncio
import io
from typing import Any, cast

import pytest
from msgspec import structs

from gateway.auditing import Auditing
from gateway.keys_file import KeysFile
from gateway.ledger import Append
from gateway.storage import records as storage
from gateway.storage.books import Books
from gateway.storage.connections import Urls
from gateway.storage.desk import Desk
from gateway.storage.records import Records
from proofs import verify
from tests.world import acts


def auditing(records: Records) -> Auditing:
    """What the export route asks."""
    return Auditing(records, cast(KeysFile, None), cast(Books, None), tenants=(acts.ACME,), environment="dev")


def test_an_export_of_a_growing_log_ends_with_the_checkpoint_of_its_last_entry(
    database: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Entries written while the export is under way are not in it; what is in it verifies, whatever the length of a page.
    """
    monkeypatch.setattr(storage, "PAGE_ENTRIES", 2)

    async def story() -> tuple[list[bytes], int]:
        desk = Desk(database.app)
        async with acts.books(database.app) as ledger:
            for number in range(3):
                await ledger.commit(acts.intend(acts.call(f"before/{number}")))
            pages = await auditing(Records(desk, "dev")).export(acts.ACME)
            sent = [await anext(pages)]
            for number in range(3):
                await ledger.commit(acts.intend(acts.call(f"meanwhile/{number}")))
            sent += [page async for page in pages]
        desk.close()
        return sent, len(sent)

    sent, pages = asyncio.run(story())
    verdict = verify.check(io.BytesIO(b"".join(sent)), acts.KEYS)

    assert verdict.findings == ()
    assert (verdict.size, verdict.checkpoints) == (3, 3)
    assert pages >= 2


def test_a_page_of_long_entries_is_a_short_one(database: Urls) -> None:
    """
    What an export has in memory at once is bounded in bytes: one entry goes beyond the bound at most, however long
    payloads are, and the whole verifies.
    """
    long = {"text": "x" * (storage.PAGE_BYTES // 2)}

    async def story() -> list[bytes]:
        desk = Desk(database.app)
        async with acts.books(database.app) as ledger:
            for number in range(7):
                entry = acts.entry("FEEDBACK", acts.call(f"call/{number}"))
                await ledger.commit(Append(entry=structs.replace(entry, payload=long)))
        sent = [page async for page in await auditing(Records(desk, "dev")).export(acts.ACME)]
        desk.close()
        return sent

    header, *pages = asyncio.run(story())
    verdict = verify.check(io.BytesIO(b"".join([header, *pages])), acts.KEYS)

    assert [page.count(b'{"entry":') for page in pages] == [2, 2, 2, 1]
    assert (verdict.findings, verdict.size) == ((), 7)


def test_a_log_without_entries_is_an_export_of_none(database: Urls) -> None:
    """
    A tenant that nobody asked anything of has a header, and nothing else.
    """

    async def story() -> list[bytes]:
        desk = Desk(database.app)
        sent = [page async for page in await auditing(Records(desk, "dev")).export(acts.ACME)]
        desk.close()
        return sent

    sent = b"".join(asyncio.run(story()))

    assert sent.count(b"\n") == 1
    assert b'"size":0' in sent


def test_a_search_looks_at_the_newest_entries_only(database: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What lies further back than the bound is not found: an export has it.
    """
    monkeypatch.setattr(storage, "SEARCHED_MAX", 4)

    async def story() -> list[dict[str, Any]]:
        desk = Desk(database.app)
        async with acts.books(database.app) as ledger:
            for number in range(6):
                await ledger.commit(acts.intend(acts.call(f"call/{number}")))
            found = await Records(desk, "dev").search(acts.ACME, {"kind": "INTENT"})
        desk.close()
        return found

    assert [entry["seq"] for entry in asyncio.run(story())] == [6, 5, 4, 3]
