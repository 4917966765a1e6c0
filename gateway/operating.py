"""What an operator does at the gateway's own host, on record: exchange the log's key, accept a database after a loss.

Neither is a call: whoever holds the log's key and the application's login could do either without being asked. So both
write what was done into the chains that it was done to, signed, where every auditor reads it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway import opening
from gateway.clock import SystemClock
from gateway.errors import Misconfigured
from gateway.issuer_keys import Issuers
from gateway.ledger import SYSTEM, Append, Draft
from gateway.settings import Settings
from gateway.storage import connections, identity, kept_checkpoints, rotation, signers
from gateway.storage.connections import Urls
from gateway.storage.kept_checkpoints import Kept
from gateway.storage.rotation import Rotated
from gateway.storage.sealing import Pen
from gateway.storage.writer import OpenGate, Writer
from proofs import losses
from proofs.keys import PrivateKey

_TRIES = 10
_PAUSE_SECONDS = 0.2


def prepare_log_key(settings: Settings) -> Iterator[str]:
    """Make the log's next key without using it, so that it can be brought to every host of the deployment first."""
    with ExitStack() as stack:
        urls = opening.database(settings, stack)
        key = _prepared(settings, urls)
    yield f"prepared {key.key_id} in {settings.data / 'keys'}"
    yield "copy the file to `keys/` of every other host of this deployment, then run `python -m gateway rotate-log-key`"


def rotate_log_key(settings: Settings) -> Iterator[str]:
    """Hand every chain over to the next key. Gateways that run take it up with their next batch."""
    with ExitStack() as stack:
        urls = opening.database(settings, stack)
        opening.require_ours(settings, urls)
        pen, folder = _pen(settings, urls), settings.data / "keys"
        key = _prepared(settings, urls)
        rotated = _rotated(urls, pen, _tenants(settings), key)
        for checkpoint in rotated.checkpoints:
            kept_checkpoints.append(settings.data / "checkpoints", checkpoint)
        set_aside = signers.retire(folder, rotated.spent)
    yield f"{key.key_id} signs {len(rotated.checkpoints)} chains from here on"
    yield from (f"{path} signs nothing any more: keep it offline, or destroy it" for path in set_aside)


def accept_database(settings: Settings) -> Iterator[str]:
    """
    Go on with a database that was set back or moved, and say so in the log: what is lost, and where from.

    Raises `LogSetBack` for a log that was not cut but is another one: no declaration could be true of it.
    """
    with ExitStack() as stack:
        urls = opening.database(settings, stack)
        folder = settings.data / "checkpoints"
        with connections.connect(urls.app) as connection:
            present, kept = identity.read(connection, SYSTEM), kept_checkpoints.differing(connection, folder)
        former = identity.remembered(settings.data)
        if not present["begins"]:
            raise Misconfigured("the database holds no log at all: restore a backup, or start with an empty data home")
        writer = Writer(lambda: connections.connect(urls.app, writer=True), _pen(settings, urls))
        stack.callback(writer.close)
        for each in kept:
            yield _declare(writer, folder, each)
        if former is not None and former != present:
            members = {"database_before": former, "database": present}
            _record(writer, Draft(tenant=SYSTEM, kind="MOVED", members=members))
            yield f"moved to database `{present['database']}` of server {present['server']}, on record"
        identity.remember(settings.data, present)
    yield "start the gateway again"


def _rotated(urls: Urls, pen: Pen, tenants: Sequence[str], key: PrivateKey) -> Rotated:
    for attempt in range(1, _TRIES):
        try:
            with connections.connect(urls.app, writer=True) as connection:
                return rotation.rotate(connection, pen, tenants, key)
        except rotation.InTheWay:
            time.sleep(_PAUSE_SECONDS * attempt)
    with connections.connect(urls.app, writer=True) as connection:
        return rotation.rotate(connection, pen, tenants, key)


def _declare(writer: Writer, folder: Path, each: Kept) -> str:
    """Record what a chain has lost, once; only then let the files forget it."""
    checkpoint = each.checkpoint
    if not each.is_declared:
        if each.size >= checkpoint.size:
            raise each.set_back
        _record(writer, Draft(tenant=checkpoint.tenant, kind=losses.KIND, members=losses.members(checkpoint)))
    kept_checkpoints.set_aside(folder, checkpoint)
    return f"log of `{checkpoint.tenant}`: what followed entry {each.size}, up to {checkpoint.size}, is lost, on record"


def _record(writer: Writer, draft: Draft) -> None:
    answer = writer.write([Append(entry=draft)], OpenGate()).answers[0]
    if isinstance(answer, Exception):
        raise answer


def _pen(settings: Settings, urls: Urls) -> Pen:
    with connections.connect(urls.app) as connection:
        held = signers.open_keys(settings.data / "keys", connection, SYSTEM)
    return Pen(environment=settings.environment, signers=held, random_bytes=secrets.token_bytes)


def _prepared(settings: Settings, urls: Urls) -> PrivateKey:
    with connections.connect(urls.app) as connection:
        held = signers.open_keys(settings.data / "keys", connection, SYSTEM)
        turns = rotation.turns(connection, _tenants(settings))
    return signers.prepare(settings.data / "keys", {held.current.key_id, *turns})


def _tenants(settings: Settings) -> Sequence[str]:
    """Every chain that this host knows of: those of the issuers, and those that it keeps checkpoints of."""
    named = Issuers(settings.issuers, SystemClock()).tenants
    return sorted({*named, *kept_checkpoints.tenants(settings.data / "checkpoints"), SYSTEM})
