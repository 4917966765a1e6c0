"""What if those who export the log do not read it: they are few, they are sent away, and others are answered."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from gateway.doors.exports import OF_A_TENANT_MAX, STALLED_SECONDS
from gateway.inquiries import REMARKS_MAX
from tests.world import wire
from tests.world.ground import Ground, wait_for

TENANT, OTHER = "globex", "acme"
CALLS = 40
REMARK = "字" * 2000
"""Six kilobytes. Twenty of each call are more than the system keeps for a connection."""
SLACK_SECONDS = 10
"""For a busy machine."""


@pytest.fixture(scope="module")
def long_log(shared_ground: Ground) -> None:
    """A log of the tenant that no buffer holds."""
    client, person = shared_ground.client(), shared_ground.person("commerce", tenant=TENANT)

    def remark(_: int) -> set[int]:
        """What is told who says all that may be said of one call."""
        read = client.call(person.token, "get_order", {"order_id": "ord_2001"})
        path = f"/v1/calls/{read.call}"
        wait_for(lambda: client.get(path, person.token).status == 200, "the read's entry was not written")
        said = {"text": REMARK}
        return {client.request("POST", path + "/feedback", person.token, body=said).status for _ in range(REMARKS_MAX)}

    with ThreadPoolExecutor(8) as pool:
        assert set().union(*pool.map(remark, range(CALLS))) == {201}


@pytest.fixture
def stalled(field: Ground, long_log: None) -> Iterator[list[socket.socket]]:
    """As many exports as a tenant may have, whose readers have read that they are answered and read no more."""
    host, _, port = field.client().url.removeprefix("http://").partition(":")
    token = field.person("auditor", tenant=TENANT).token
    asked = wire.request("GET", "/v1/audit/export", headers=[("Authorization", f"Bearer {token}")], host=host)
    with ExitStack() as opened:
        readers = []
        for _ in range(OF_A_TENANT_MAX):
            reader = opened.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.settimeout(SLACK_SECONDS)
            reader.connect((host, int(port)))
            reader.sendall(asked)
            assert reader.recv(12) == b"HTTP/1.1 200"
            readers.append(reader)
        yield readers


def is_exported(field: Ground, tenant: str) -> bool:
    """Whether one more export is answered, and not refused."""
    return b'"lockgate_export":' in field.client().text(
        "/v1/audit/export", field.person("auditor", tenant=tenant).token
    )


def is_cut_off(reader: socket.socket) -> bool:
    """Whether the connection ends, and its last chunk has not come."""
    end = b""
    with suppress(ConnectionResetError):
        while piece := reader.recv(2**16):
            end = (end + piece)[-5:]
    return end != b"0\r\n\r\n"


def test_who_does_not_read_an_export_is_sent_away(field: Ground, stalled: list[socket.socket]) -> None:
    """
    B06: exports that nobody reads have the places of their tenant and no more: one more is 429, another tenant's is
    answered. Each is cut off after its time, and then the tenant exports again.
    """
    one_more = field.client().get("/v1/audit/export", field.person("auditor", tenant=TENANT).token)
    of_another = is_exported(field, OTHER)
    wait_for(lambda: is_exported(field, TENANT), "they have their places still", STALLED_SECONDS + SLACK_SECONDS)

    assert (one_more.status, one_more.reason) == (429, "quota_exceeded")
    assert of_another
    assert [is_cut_off(reader) for reader in stalled] == [True] * OF_A_TENANT_MAX
