"""Rules of before, brought back with a database of before: what a data home has seen in force it does not forget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.demo.client import Answer
from gateway.opening import DATABASE
from gateway.storage.revisions import Revisions, RevisionsUnreadable
from policies import bundles
from policies.bundles import Manifest
from tests.world.ground import Ground, ground

OLDER = "lockgate_before"


def test_a_revision_never_falls(tmp_path: Path) -> None:
    """
    C09: the highest revision that was noted is found again by the next process, for each tenant by itself.
    """
    first = Revisions(tmp_path / "revisions")
    for tenant, revision in (("acme", 3), ("acme", 9), ("acme", 4), ("globex", 2)):
        first.note(tenant, revision)

    second = Revisions(tmp_path / "revisions")

    assert [second.newest(tenant) for tenant in ("acme", "globex", "initech")] == [9, 2, 0]
    assert (tmp_path / "revisions").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", [b"", b"nine", b"-1", b"9" * 17, b"9 9", "٩".encode()])
def test_an_unreadable_revision_is_no_revision(tmp_path: Path, text: bytes) -> None:
    """
    C09: a file that holds anything but a number keeps the gateway from starting, rather than counting as none.
    """
    (tmp_path / "acme").write_bytes(text)

    with pytest.raises(RevisionsUnreadable, match="acme"):
        Revisions(tmp_path)


def test_a_file_that_was_half_written_is_left_alone(tmp_path: Path) -> None:
    """
    C09: a crash while a revision is noted leaves the one before.
    """
    Revisions(tmp_path).note("acme", 5)
    (tmp_path / "acme.half").write_bytes(b"6")

    assert Revisions(tmp_path).newest("acme") == 5


def test_a_database_of_before_brings_no_older_rules_back() -> None:
    """
    C09: the database of before an activation, its loss accepted by the operator: what was replaced decides nothing, no
    tool comes under it, and bundles up to the one that was lost, validly signed and proved, are not published again.
    Newer ones are, and then calls are decided.
    """
    with ground() as here:
        cluster = here.world.cluster
        _activate(here, _upload(here, 3))
        lost = [_upload(here, 7)]
        here.gateway().stop()
        cluster.create_database(OLDER, template=DATABASE)
        _activate(here, lost[0])
        by_the_lost = _refund(here)
        here.gateway().stop()
        cluster.drop_database(DATABASE)
        cluster.create_database(DATABASE, template=OLDER)
        here.world.operate("accept-database")

        by_the_older = _refund(here)
        ready = here.client().get("/readyz")
        again = [_govern(here, "publish_bundle", digest) for digest in (*lost, _upload(here, 6))]
        _activate(here, _upload(here, 8))
        by_the_newer = _refund(here)

    assert (by_the_lost.status, by_the_newer.status, ready.status) == (200, 200, 503)
    assert (by_the_older.status, by_the_older.reason) == (503, "policy_expired")
    assert [(each.status, "publish-newer" in [rule["id"] for rule in each.document["rules"]]) for each in again] == [
        (403, True),
        (403, True),
    ]


def _upload(here: Ground, revision: int) -> str:
    """The base bundle under that revision; by somebody who approves nothing here."""
    now = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(
        tenant="acme", environment="dev", revision=revision, created_at=now, not_after=now + timedelta(days=9)
    )
    raw = bundles.sign(bundles.compose(bundles.base(), manifest), here.world.cast.bundle_key).raw
    uploaded = here.client().request("POST", "/v1/bundles", here.person("founder", 2).token, body=raw)
    assert uploaded.status == 201, uploaded.document
    return str(uploaded.document["digest"])


def _govern(here: Ground, tool: str, digest: str) -> Answer:
    people = [here.person("security", 2), here.person("founder", 1)]
    return here.client().governed(here.person("security"), people, tool, {"digest": digest}, "policy_change")


def _activate(here: Ground, digest: str) -> None:
    for tool in ("publish_bundle", "activate_bundle"):
        assert _govern(here, tool, digest).document.get("status") == "executed"


def _refund(here: Ground) -> Answer:
    arguments = {"order_id": "ord_1003", "amount_cents": 7}
    return here.client().call(here.person("finance").token, "issue_refund", arguments, reason="damaged_item")
