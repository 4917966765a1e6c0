"""What if the database is older than the log that was shown, at a start or under a running gateway, or another one."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.client import Client
from deploy.demo.world import GatewayFailed
from gateway.opening import DATABASE
from gateway.storage import kept_checkpoints
from proofs import checkpoints, verify
from proofs.__main__ import main
from proofs.checkpoints import Checkpoint
from proofs.keys import KeyRing
from tests.world.ground import SETTINGS, Ground, ground

OLDER, NEWER, COPY = "lockgate_older", "lockgate_newer", "lockgate_copy"
ACCEPT = "accept-database"


@pytest.fixture
def plot() -> Iterator[Ground]:
    """A ground of its own: what is lost on it stays lost."""
    with ground() as started:
        yield started


def test_database_set_back_is_refused_at_start(field: Ground) -> None:
    """
    M01: with yesterday's database the gateway does not start, and says that the log was set back; with the right one it
    goes on where it was.
    """
    cluster = field.world.cluster

    _refund(field)
    field.gateway().stop()
    cluster.create_database(OLDER, template=DATABASE)
    _refund(field)
    field.gateway().stop()
    cluster.create_database(NEWER, template=DATABASE)
    _put_back(field, OLDER)
    with pytest.raises(GatewayFailed, match=r"log of `acme`.*set back"):
        field.gateway()
    _put_back(field, NEWER)
    status = _refund(field)

    assert status == 200


def test_a_loss_that_is_accepted_stands_in_the_log(
    plot: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    M01: with yesterday's database the gateway starts only after an operator has accepted the loss, once, and the log
    says which entries are gone. Who kept a checkpoint of them is told so by name, and never that all is well.
    """
    cluster = plot.world.cluster

    _refund(plot)
    plot.gateway().stop()
    earlier = _kept(plot)
    cluster.create_database(OLDER, template=DATABASE)
    _refund(plot)
    between = _newest(plot)
    _refund(plot)
    plot.gateway().stop()
    later = _kept(plot)
    _put_back(plot, OLDER)
    with pytest.raises(GatewayFailed, match=ACCEPT):
        plot.gateway()
    told = plot.world.operate(ACCEPT)
    statuses = [_refund(plot) for _ in range(4)]
    again = plot.world.operate(ACCEPT)
    export, keys = _export(plot), KeyRing.parse(plot.client().text("/v1/keys"))

    assert statuses == [200] * 4
    assert f"up to {later.size}, is lost" in told
    assert "lost" not in again
    alone = verify.check(io.BytesIO(export), keys)
    assert alone.is_good
    assert [loss.document() for loss in alone.losses] == [
        {"entry": earlier.size + 1, "lost_from": earlier.size + 1, "lost_to": later.size}
    ]
    assert verify.check(io.BytesIO(export), keys, [earlier]).is_good
    for kept in (between, later):
        finding = verify.check(io.BytesIO(export), keys, [kept]).findings[0]
        assert (finding.seq, finding.reason) == (earlier.size + 1, "loss_acknowledged")
    files = {"log.jsonl": export, "keys.json": json.dumps(keys.document()).encode()}
    files["kept.json"] = json.dumps(later.document()).encode()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    log, ring, kept_file = (str(tmp_path / name) for name in files)
    assert main(["verify", log, "--keys", ring, "--checkpoint", kept_file]) == 1
    assert "are lost, as entry" in capsys.readouterr().out
    assert main(["verify", log, "--keys", ring]) == 0
    assert "lost: entries" in capsys.readouterr().out


def test_database_set_back_under_a_running_gateway_is_refused(plot: Ground) -> None:
    """
    M01: restored while the gateway runs, also when it has grown past the old size since, the database is written to no
    more: 503 without an effect, and the gateway is not ready.
    """
    cluster = plot.world.cluster
    _refund(plot)
    plot.gateway().stop()
    cluster.create_database(OLDER, template=DATABASE)
    gateway, client = plot.gateway(), plot.client()
    _refund(plot)
    effects = sum(plot.oracle.effects().values())

    _put_back(plot, OLDER)
    statuses = [_refund_by(plot, client) for _ in range(3)]
    size, ready = _newest(plot).size, client.get("/readyz")

    assert gateway.process.poll() is None
    assert statuses == [503] * 3
    assert (ready.status, ready.reason) == (503, "not_ready")
    assert sum(plot.oracle.effects().values()) == effects
    assert size == _newest(plot).size


def test_a_second_database_that_claims_the_chain_is_refused(plot: Ground) -> None:
    """
    M08: a copy of the database under another name, or with another beginning, is not the one that the data home belongs
    to; a ledger that was moved is accepted on record, and then the former place is refused.
    """
    cluster = plot.world.cluster
    _refund(plot)
    plot.gateway().stop()
    cluster.create_database(COPY, template=DATABASE)
    urls = cluster.urls(COPY)
    elsewhere = {"LOCKGATE_DATABASE_URL": urls.app, "LOCKGATE_AUDITOR_URL": urls.auditor}

    with pytest.raises(GatewayFailed, match="belongs to database `lockgate`"):
        plot.world.gateway(settings={**SETTINGS, **elsewhere})
    plot.world.operate(ACCEPT, settings=elsewhere)
    moved = plot.world.gateway(settings={**SETTINGS, **elsewhere})
    status = _refund_by(plot, Client(moved.url))
    lines = Client(moved.url).text("/v1/audit/export", plot.world.cast.person("system", "auditor").token).splitlines()
    moved.stop()
    with pytest.raises(GatewayFailed):
        plot.gateway()

    entries = [json.loads(line)["entry"] for line in lines if line.startswith(b'{"entry"')]
    recorded = [entry["database"]["database"] for entry in entries if entry["kind"] == "MOVED"]
    assert (status, recorded) == (200, [COPY])


def _put_back(field: Ground, copy: str) -> None:
    field.world.cluster.drop_database(DATABASE)
    field.world.cluster.create_database(DATABASE, template=copy)


def _refund(field: Ground) -> int:
    return _refund_by(field, field.client())


def _refund_by(field: Ground, client: Client) -> int:
    arguments = {"order_id": "ord_1003", "amount_cents": 9}
    return client.call(field.person("finance").token, "issue_refund", arguments, reason="damaged_item").status


def _newest(field: Ground) -> Checkpoint:
    return checkpoints.parse(field.client().get("/v1/audit/checkpoint?tenant=acme").document)


def _kept(field: Ground) -> Checkpoint:
    """What the gateway that was stopped has kept."""
    kept = kept_checkpoints.last(field.world.home / "checkpoints", "acme")
    assert kept is not None
    return kept


def _export(field: Ground) -> bytes:
    return field.client().text("/v1/audit/export", field.world.cast.person("acme", "auditor").token)
