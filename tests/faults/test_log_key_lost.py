"""What if the key that signs the log is not there, or is another one, while the database holds a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.demo.world import GatewayFailed
from proofs.keys import PrivateKey
from tests.world.ground import Ground


@pytest.mark.parametrize("is_replaced", [False, True], ids=["missing", "another"])
def test_a_log_is_not_continued_under_another_key(field: Ground, is_replaced: bool) -> None:
    """
    M03: the gateway does not start, says what to do, and makes no key; with the right one it goes on where it was.
    """
    file = field.world.home / "keys" / "log.key"
    field.gateway().stop()
    kept = file.rename(file.with_name("log.key.kept"))
    if is_replaced:
        PrivateKey.generate().save(file)

    with pytest.raises(GatewayFailed, match=r"log\.key.*put that key back") as failed:
        field.gateway()
    made = file.exists() and not is_replaced
    kept.replace(file)

    assert "Traceback" not in str(failed.value)
    assert not made
    assert field.client().get("/readyz").status == 200


def test_an_empty_log_gets_a_key_of_its_own(field: Ground) -> None:
    """
    A first start makes the key that the checkpoints name.
    """
    file: Path = field.world.home / "keys" / "log.key"

    checkpoint = field.client().get("/v1/audit/checkpoint?tenant=system").document

    assert checkpoint["key_id"] == PrivateKey.load(file).public.key_id
