"""What if the disk of the database, of checkpoints or of an export is full, or a flush fails."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.client import Answer, Client
from deploy.demo.world import ROOT
from tests.world import disks
from tests.world.disks import DiskRig
from tests.world.ground import Ground, wait_for

CALLS = 3


@pytest.fixture(scope="module")
def rig() -> Iterator[DiskRig]:
    with disks.disk_rig() as made:
        assert refund(made.field, secrets.token_hex(16)).status == 200
        yield made


def test_a_full_disk_of_the_database_is_a_no_until_there_is_room(rig: DiskRig) -> None:
    """
    F07: not a byte is left for the database: calls are 503 sooner or later, none has an effect that it was not told
    of, and when there is room again each key ends in one executed call.
    """
    keys = [secrets.token_hex(16) for _ in range(CALLS)]

    with disks.filled(rig.disk):
        told = [refund(rig.field, key) for key in keys]
        effects = rig.field.oracle.effects()
    finals = [rig.field.finally_answered(lambda client, key=key: again(rig.field, client, key)) for key in keys]

    assert {each.status for each in told} <= {200, 503, 504}
    assert "internal" not in {each.reason for each in told}
    assert all(effects[each.call] == 1 for each in told if each.status == 200)
    assert {(each.status, each.document["status"]) for each in finals} == {(200, "executed")}
    assert rig.field.reconcile().wrong == ()


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_a_write_that_fails_acknowledges_nothing(rig: DiskRig, call: str, error: str) -> None:
    """
    F08: every flush, or every write, of the server fails: no call is told that it was executed, and afterwards, without
    a restart, each key ends in one executed call.
    """
    keys = [secrets.token_hex(16) for _ in range(CALLS)]
    before = rig.field.oracle.effects()

    with disks.injected(rig.server(), f"{call}:error={error}:when=1+"):
        told = [refund(rig.field, key) for key in keys]
        during = rig.field.oracle.effects()
    finals = [rig.field.finally_answered(lambda client, key=key: again(rig.field, client, key)) for key in keys]

    assert {each.status for each in told} <= {503, 504} if call == "fdatasync" else {200, 503, 504}
    assert "internal" not in {each.reason for each in told}
    assert during == before if call == "fdatasync" else True
    assert {(each.status, each.document["status"]) for each in finals} == {(200, "executed")}
    assert rig.field.reconcile().wrong == ()


def test_what_is_acknowledged_was_flushed_before(rig: DiskRig, tmp_path: Path) -> None:
    """
    F08: of each commit of the writer the server flushes its log first and answers then.
    """
    with disks.traced(rig.writers(), "fdatasync,fsync,sendto", tmp_path / "trace"):
        answers = [refund(rig.field, secrets.token_hex(16)) for _ in range(CALLS)]
    acknowledged = [
        was_flushed for file in tmp_path.glob("trace*") for was_flushed in disks.acknowledgements(file.read_text())
    ]

    assert {each.status for each in answers} == {200}
    assert len(acknowledged) >= 2 * CALLS
    assert all(acknowledged)


def test_checkpoint_files_without_room_are_told_of_and_caught_up(field: Ground) -> None:
    """
    F07: the disk of checkpoint files is full: calls go on, an event says so, and the newest checkpoint is there as soon
    as there is room.
    """
    place = field.world.home / "checkpoints"
    log, said = field.gateway().log, field.gateway().log.stat().st_size
    kept = place.rename(place.with_name("checkpoints.kept"))

    try:
        with disks.small_disk(place, 1), disks.filled(place):
            during = refund(field, secrets.token_hex(16))
            wait_for(lambda: b'"checkpoints_not_kept"' in log.read_bytes()[said:], "no event tells of it")
    finally:
        place.rmdir()
        kept.rename(place)
    after = refund(field, secrets.token_hex(16))
    size = after.document["receipt"]["checkpoint"]["size"]
    wait_for(lambda: _last_size(place / "acme.jsonl") >= size, "the newest checkpoint was not kept")

    assert (during.status, after.status) == (200, 200)


def test_checkpoint_files_that_cannot_be_flushed_are_told_of(field: Ground) -> None:
    """
    F08: every flush of the gateway's own files fails: calls go on, for the ledger is the database's, and an event says
    that no checkpoint is kept beside it.
    """
    log, said = field.gateway().log, field.gateway().log.stat().st_size

    with disks.injected([field.gateway().process.pid], "fdatasync:error=EIO:when=1+"):
        during = refund(field, secrets.token_hex(16))
        wait_for(lambda: b'"checkpoints_not_kept"' in log.read_bytes()[said:], "no event tells of it")
    after = refund(field, secrets.token_hex(16))
    wait_for(lambda: b'"checkpoints_kept"' in log.read_bytes()[said:], "no event tells that it is over")

    assert (during.status, after.status) == (200, 200)


def test_an_export_without_room_is_no_export(field: Ground, tmp_path: Path) -> None:
    """
    F07: an export to a full disk fails, says why in a line, and leaves nothing that could be taken for one.
    """
    assert refund(field, secrets.token_hex(16)).status == 200
    token = tmp_path / "token"
    token.write_text(field.person("auditor").token)
    token.chmod(0o600)
    named = {"URL": field.gateway().url, "TENANT": "acme", "ENVIRONMENT": "dev", "TOKEN_FILE": str(token)}

    with disks.small_disk(tmp_path / "disk", 1) as disk, disks.filled(disk):
        file = disk / "log.jsonl"
        command = [sys.executable, "-m", "admin", "audit", "export", "--out", str(file)]
        environment = {f"LOCKGATECLI_{name}": value for name, value in named.items()}
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        left = {each.name for each in disk.iterdir()}

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "no space left" in ended.stderr
    assert left == {"filler"}


def refund(field: Ground, key: str) -> Answer:
    """A small refund."""
    return again(field, field.client(), key)


def again(field: Ground, client: Client, key: str) -> Answer:
    """The same call, once more."""
    arguments = {"order_id": "ord_1003", "amount_cents": 1}
    return client.call(field.person("finance").token, "issue_refund", arguments, reason="damaged_item", key=key)


def _last_size(file: Path) -> int:
    lines = file.read_bytes().splitlines() if file.exists() else []
    return int(json.loads(lines[-1])["size"]) if lines else 0
