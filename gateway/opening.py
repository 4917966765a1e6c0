"""The database of a gateway, found, migrated, and compared with what its data home remembers."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack

from gateway.errors import Misconfigured
from gateway.ledger import SYSTEM
from gateway.settings import Settings
from gateway.storage import connections, identity, kept_checkpoints, migrations, startup
from gateway.storage.cluster import Cluster
from gateway.storage.connections import Urls

DATABASE = "lockgate"


def database(settings: Settings, stack: AsyncExitStack | ExitStack) -> Urls:
    """The database, migrated and found safe: a server of the operator's, or a cluster of our own."""
    if settings.database_url is None:
        cluster = Cluster.start(settings.data)
        stack.callback(cluster.stop)
        cluster.create_database(DATABASE)
        urls = cluster.urls(DATABASE)
    else:
        if settings.auditor_url is None:
            raise Misconfigured(
                "LOCKGATE_AUDITOR_URL is needed beside LOCKGATE_DATABASE_URL: the start-up check uses it"
            )
        migrator = settings.migrator_url.get_secret_value() if settings.migrator_url else ""
        urls = Urls(
            migrator=migrator,
            app=settings.database_url.get_secret_value(),
            auditor=settings.auditor_url.get_secret_value(),
        )
    if urls.migrator:
        migrations.upgrade(urls.migrator)
    startup.require(urls.app, urls.auditor, needs_standby=settings.standby == "synchronous")
    return urls


def require_ours(settings: Settings, urls: Urls) -> int:
    """
    Check that the database holds the log that this data home saw, and is the one that it belongs to.

    Gives the time of the newest entry that either of them knows of, 0 where there is none.

    Raises `LogSetBack` and `DatabaseOfAnother`: an operator decides (`operating`).
    """
    with connections.connect(urls.app) as connection:
        kept = settings.data / "checkpoints"
        kept_checkpoints.compare(connection, kept)
        identity.require(settings.data, identity.read(connection, SYSTEM))
        return kept_checkpoints.newest_ms(connection, sorted({*kept_checkpoints.tenants(kept), SYSTEM}))
