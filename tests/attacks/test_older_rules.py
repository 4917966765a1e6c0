"""Rules of before, brought back with a database of before: what a data home has seen in force it does not forget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.demo.client import Client
from gateway.storage.revisions import Revisions, RevisionsUnreadable
from policies import bundles
from policies.bundles import Manifest
from tests.world.ground import ground


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
    C09: the database knows revision 1, the data home has seen 7: bundles up to 7, validly signed and proved, are not
    published, and the next one is.
    """
    with ground() as here:
        kept = here.world.home / "revisions"
        here.gateway().stop()
        kept.mkdir(exist_ok=True)
        (kept / "acme").write_bytes(b"7\n")
        client = Client(here.gateway().url)
        people = [here.person("security", 2), here.person("founder", 1)]

        answers = []
        for revision in (7, 8):
            now = datetime.now(UTC).replace(microsecond=0)
            manifest = Manifest(
                tenant="acme", environment="dev", revision=revision, created_at=now, not_after=now + timedelta(days=9)
            )
            raw = bundles.sign(bundles.compose(bundles.base(), manifest), here.world.cast.bundle_key).raw
            uploaded = client.request("POST", "/v1/bundles", here.person("founder", 2).token, body=raw)
            assert uploaded.status == 201, uploaded.document
            arguments = {"digest": uploaded.document["digest"]}
            answers.append(
                client.governed(here.person("security"), people, "publish_bundle", arguments, "policy_change")
            )

    older, newer = answers
    assert older.status == 403
    assert "publish-newer" in [rule["id"] for rule in older.document["rules"]]
    assert newer.document["status"] == "executed"
