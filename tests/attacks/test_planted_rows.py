"""Rows planted in the database by whoever stole the application role: rules come into force only as far as signed."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.demo.client import Client
from deploy.demo.world import GatewayFailed, World
from gateway.opening import DATABASE
from gateway.restoring import WATCH_SECONDS
from gateway.storage.connections import connect, transaction
from policies import bundles
from policies.bundles import Bundle, Manifest

EVERYTHING = '@id("everything")\n@hint("anything goes")\npermit (principal, action, resource);\n'


@pytest.fixture
def doomed() -> Iterator[World]:
    """A world whose database is spoiled."""
    home = Path(tempfile.mkdtemp(prefix="lockgate-planted-"))
    home.chmod(0o755)  # The server's user passes through; what is inside is private.
    try:
        with World.start(home / "home") as world:
            yield world
    finally:
        shutil.rmtree(home, ignore_errors=True)


def loose() -> Bundle:
    """A bundle that permits everything, signed by nobody."""
    now = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(tenant="acme", environment="dev", revision=7, created_at=now, not_after=now + timedelta(days=1))
    return bundles.compose({**bundles.base(), "policies": EVERYTHING}, manifest)


def plant(world: World, bundle: Bundle) -> None:
    """As the application role may: a bundle, its activation, and the base bundle's certificate filed under it."""
    with (
        connect(world.cluster.urls(DATABASE).app) as connection,
        transaction(connection, ["acme", "system"]) as cursor,
    ):
        verdict = json.dumps({"passed": True, "revision": 7}).encode()
        cursor.execute(
            "insert into lockgate.bundles (tenant, digest, content, verdict, published_seq) values (%s, %s, %s, %s, 1)",
            ("acme", bundle.digest, bundle.raw, verdict),
        )
        cursor.execute(
            """insert into lockgate.certificates (tenant, digest, bundle, schema_digest, content)
            select 'acme', digest, %s, schema_digest, content from lockgate.certificates where tenant = 'system'""",
            (bundle.digest,),
        )
        cursor.execute(
            """insert into lockgate.activations
              (tenant, revision, digest, certificate_digest, schema_digest, seq, at_ms)
            select 'acme', 7, %s, certificate_digest, schema_digest, 1, at_ms from lockgate.activations
            where tenant = 'system'""",
            (bundle.digest,),
        )


def test_an_unsigned_bundle_in_the_tables_decides_nothing(doomed: World) -> None:
    """
    C08: a gateway that runs keeps its rules, and one that starts refuses to, whatever the rows say.
    """
    gateway = doomed.gateway()
    client, security = Client(gateway.url), doomed.cast.person("acme", "security")
    before = client.get("/v1/bundles", security.token).document["in_force"]

    plant(doomed, loose())
    time.sleep(3 * WATCH_SECONDS)
    after = client.get("/v1/bundles", security.token).document["in_force"]
    gateway.stop()

    assert after == before
    with pytest.raises(GatewayFailed, match="no trusted key signed"):
        doomed.gateway()


def test_a_signed_bundle_is_not_proved_by_the_certificate_of_another(doomed: World) -> None:
    """
    D06: a genuine certificate filed under another bundle proves nothing about it.
    """
    gateway = doomed.gateway()
    client, operator = Client(gateway.url), doomed.cast.person("acme", "operator")
    signed = bundles.sign(loose(), doomed.cast.bundle_key)

    plant(doomed, signed)
    time.sleep(3 * WATCH_SECONDS)
    answer = client.call(operator.token, "revoke_push_tokens", {"user_id": "usr_1001"}, reason="user_request")

    assert (answer.status, answer.reason) == (403, "invariant_unproven")
