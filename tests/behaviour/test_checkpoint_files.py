"""Checkpoints outside the database: a database that was set back or rewritten is noticed before anything is written."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from gateway.ledger import Append, Draft
from gateway.storage import kept_checkpoints
from gateway.storage.cluster import Cluster
from gateway.storage.connections import Urls, connect
from gateway.storage.kept_checkpoints import KeptCheckpoints, LogSetBack
from gateway.storage.sequencer import Sequencer
from gateway.storage.writer import Writer
from tests.world import acts
from tests.world.acts import ACME, GLOBEX


def _write(url: str, directory: Path, *, notes: int, tenant: str = ACME) -> None:
    """Append entries, each in a batch of its own, beside the files."""

    async def story() -> None:
        kept = KeptCheckpoints(directory, interval_seconds=0.0)
        kept.start()
        sequencer = Sequencer(Writer(acts.writing(url), acts.pen()), on_checkpoints=kept.note)
        sequencer.start()
        for number in range(notes):
            await sequencer.commit(Append(entry=Draft(tenant=tenant, kind="NOTE", members={"number": number})))
        sequencer.stop()
        kept.stop()

    asyncio.run(story())


def _compare(url: str, directory: Path) -> None:
    with connect(url) as connection:
        kept_checkpoints.compare(connection, directory)


def test_newest_checkpoint_of_each_tenant_is_in_its_file(database: Urls, tmp_path: Path) -> None:
    """
    After a commit and an orderly end the file's last line is the log's last checkpoint, and start-up agrees.
    """
    _write(database.app, tmp_path, notes=5)
    _write(database.app, tmp_path, notes=2, tenant=GLOBEX)

    kept = [kept_checkpoints.last(tmp_path, tenant) for tenant in (ACME, GLOBEX, "nobody")]

    assert [each and each.size for each in kept] == [5, 2, None]
    assert (tmp_path / "acme.jsonl").stat().st_mode & 0o077 == 0
    _compare(database.app, tmp_path)


def test_database_older_than_the_file_is_refused(
    cluster: Cluster, database: Urls, database_name: str, tmp_path: Path
) -> None:
    """
    M01: yesterday's database under today's checkpoint file is named and refused.
    """
    _write(database.app, tmp_path, notes=3)
    cluster.create_database("yesterday", template=database_name)
    _write(database.app, tmp_path, notes=2)

    with pytest.raises(LogSetBack, match="`acme`: the database ends at entry 3, its checkpoint file at 5"):
        _compare(cluster.urls("yesterday").app, tmp_path)

    cluster.drop_database("yesterday")


def test_database_that_grew_again_after_being_set_back_is_refused(
    cluster: Cluster, database: Urls, database_name: str, tmp_path: Path
) -> None:
    """
    A log that lost its end and grew past the old size has another root there, which is named and refused.
    """
    _write(database.app, tmp_path, notes=3)
    cluster.create_database("grown", template=database_name)
    _write(database.app, tmp_path, notes=2)
    _write(cluster.urls("grown").app, tmp_path / "elsewhere", notes=9)

    with pytest.raises(LogSetBack, match="at entry 5 the database has another root"):
        _compare(cluster.urls("grown").app, tmp_path)

    cluster.drop_database("grown")


@pytest.mark.parametrize(
    ("torn", "expected"),
    [
        (b'{"at_ms":17', nullcontext()),
        (b"", nullcontext()),
        (None, pytest.raises(LogSetBack, match="no line can be read")),
    ],
    ids=["torn", "whole", "unreadable"],
)
def test_torn_line_is_skipped_and_an_unreadable_file_refuses(
    database: Urls, tmp_path: Path, torn: bytes | None, expected: AbstractContextManager[object]
) -> None:
    """
    A crash in the middle of a line costs that line only; a file of which nothing can be read is a doubt, and refuses.
    """
    _write(database.app, tmp_path, notes=3)
    path = tmp_path / "acme.jsonl"
    path.write_bytes(b"\x00" * 40 if torn is None else path.read_bytes() + torn)

    with expected:
        _compare(database.app, tmp_path)
        _write(database.app, tmp_path, notes=1)
        assert kept_checkpoints.last(tmp_path, ACME) is not None
        _compare(database.app, tmp_path)
