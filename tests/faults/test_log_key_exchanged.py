"""What if the key that signs the log is exchanged while gateways write, half-way, or behind the back of one of them."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.client import Answer, Client
from deploy.demo.world import Gateway, GatewayFailed
from gateway.opening import DATABASE
from proofs import receipts, verify
from proofs.keys import KeyRing
from proofs.verify import Verdict
from tests.world.ground import SETTINGS, Ground, ground

EXCHANGE = "rotate-log-key"


@pytest.fixture(scope="module")
def plot() -> Iterator[Ground]:
    """A ground of its own: its keys change."""
    with ground() as started:
        yield started


def test_the_key_is_exchanged_under_load(plot: Ground) -> None:
    """
    M02, G06: two gateways write while the key is exchanged twice: every call is answered, every receipt holds, and who
    has nothing but the first key verifies every chain to its end.
    """
    first = keys(plot.client())
    gateways = [plot.gateway(), plot.world.gateway(settings=SETTINGS)]
    told: list[Answer] = []
    with load(plot, gateways, told):
        for _ in range(2):
            count = len(told)
            plot.world.operate(EXCHANGE)
            wait_until(lambda count=count: len(told) >= count + 20)  # type: ignore[misc]
    gateways[1].stop()
    now = keys(plot.client())

    assert {answer.status for answer in told} == {200}
    for tenant in ("acme", "system"):
        verdict = verified(plot, first, tenant)
        assert (verdict.findings, verdict.log_keys) == ((), 3)
    for answer in told:
        receipts.verify(answer.document["receipt"], now)
    signers = {answer.document["receipt"]["checkpoint"]["key_id"] for answer in told}
    assert len(signers) == 3
    assert plot.reconcile().wrong == ()


def test_a_key_that_was_replaced_opens_no_receipt_of_a_later_size(plot: Ground) -> None:
    """
    G06: the keys file says of each key up to which size it signed; beyond it the key counts for nothing.
    """
    plot.world.operate(EXCHANGE)
    refunded = refund(plot, plot.client())
    ring = keys(plot.client())

    lines = [line for line in ring.keys if line.tenant == "acme" and "checkpoint" in line.purposes]
    bounds = [(line.size_min, line.size_max) for line in lines]
    last = refunded.document["receipt"]["checkpoint"]

    assert bounds[-1][1] is None
    assert all(one[1] + 1 == other[0] for one, other in pairwise(bounds))
    assert ring.find(lines[0].public.key_id, "checkpoint", "acme", last["at_ms"], size=last["size"]) is None
    assert ring.find(last["key_id"], "checkpoint", "acme", last["at_ms"], size=1) is None


def test_a_gateway_without_the_new_key_refuses_to_write(plot: Ground, tmp_path: Path) -> None:
    """
    M02, M08: a gateway on another host, which has only the former key, answers 503 and has no effect once the key was
    exchanged; with the new key's file it goes on without a restart.
    """
    elsewhere = other_host(plot, tmp_path)
    client = Client(elsewhere.url)
    before = refund(plot, client)

    plot.world.operate(EXCHANGE)
    effects = sum(plot.oracle.effects().values())
    refused = refund(plot, client)
    after = sum(plot.oracle.effects().values())
    unready = client.get("/readyz").status
    shutil.copytree(plot.world.home / "keys", tmp_path / "keys", dirs_exist_ok=True)
    again = refund(plot, client)
    ready = client.get("/readyz").status
    elsewhere.stop()

    assert (before.status, refused.status, refused.reason, again.status) == (200, 503, "ledger_unavailable", 200)
    assert (after, unready, ready) == (effects, 503, 200)
    assert verified(plot, keys(plot.client()), "acme").is_good


@pytest.mark.parametrize("point", ["before", "after"])
def test_an_exchange_that_dies_half_way_is_done_or_not(plot: Ground, point: str) -> None:
    """
    M02: killed before its commit, the exchange has not happened, and the next one uses the key that was prepared;
    killed after it, it has, and a gateway starts with the new key.
    """
    place = {"before": "gateway.storage.writing:entries_alone", "after": "gateway.storage.signers:retire"}[point]
    signer = refund(plot, plot.client()).document["receipt"]["checkpoint"]["key_id"]

    with pytest.raises(GatewayFailed):
        plot.world.operate(EXCHANGE, program=("-m", "tests.world.dying", place))
    plot.restart()
    refunded = refund(plot, plot.client())
    died = newest(plot)["key_id"]
    prepared = {path.name for path in (plot.world.home / "keys").glob("log-*.key")}
    plot.world.operate(EXCHANGE)
    refund(plot, plot.client())
    used = newest(plot)["key_id"]

    assert refunded.status == 200
    assert (died == signer) == (point == "before")
    assert (f"log-{used}.key" in prepared) == (point == "before")
    assert [path.name for path in (plot.world.home / "keys").glob("log*.key")] == [f"log-{used}.key"]
    assert verified(plot, keys(plot.client()), "acme").is_good


class load:
    """Refunds through all gateways, until the block ends."""

    def __init__(self, plot: Ground, gateways: list[Gateway], told: list[Answer]) -> None:
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(plot, Client(gateway.url), told)) for gateway in gateways
        ]

    def _write(self, plot: Ground, client: Client, told: list[Answer]) -> None:
        while not self._ended.is_set():
            told.append(refund(plot, client))

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def wait_until(is_so: Any) -> None:
    """Poll without a bound of its own: the test's is enough."""
    while not is_so():
        threading.Event().wait(0.01)


def refund(plot: Ground, client: Client) -> Answer:
    """A write with an effect."""
    arguments = {"order_id": "ord_1003", "amount_cents": 1}
    return client.call(plot.person("finance").token, "issue_refund", arguments, reason="damaged_item")


def keys(client: Client) -> KeyRing:
    """The keys file as it is published now."""
    return KeyRing.parse(client.text("/v1/keys"))


def verified(plot: Ground, ring: KeyRing, tenant: str) -> Verdict:
    """What the verifier says of a chain."""
    token = plot.world.cast.person(tenant, "auditor").token
    return verify.check(io.BytesIO(plot.client().text("/v1/audit/export", token)), ring)


def other_host(plot: Ground, home: Path) -> Gateway:
    """A gateway with a data home of its own, and the same keys, on the same database."""
    plot.gateway()  # A first start makes the keys.
    shutil.copytree(plot.world.home / "keys", home / "keys")
    urls = plot.world.cluster.urls(DATABASE)
    place = {
        "LOCKGATE_DATA": str(home),
        "LOCKGATE_DATABASE_URL": urls.app,
        "LOCKGATE_AUDITOR_URL": urls.auditor,
    }
    return plot.world.gateway(settings={**SETTINGS, **place})


def newest(plot: Ground) -> dict[str, Any]:
    """The newest checkpoint of acme."""
    return plot.client().get("/v1/audit/checkpoint?tenant=acme").document
