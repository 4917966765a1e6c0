"""What if the database that a gateway finds at its start is older than the log it has shown."""

from __future__ import annotations

import pytest

from deploy.demo.world import GatewayFailed
from gateway.app import DATABASE
from tests.world.ground import Ground

OLDER, NEWER = "lockgate_older", "lockgate_newer"


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


def _put_back(field: Ground, copy: str) -> None:
    field.world.cluster.drop_database(DATABASE)
    field.world.cluster.create_database(DATABASE, template=copy)


def _refund(field: Ground) -> int:
    arguments = {"order_id": "ord_1003", "amount_cents": 9}
    token = field.person("finance").token
    return field.client().call(token, "issue_refund", arguments, reason="damaged_item").status
