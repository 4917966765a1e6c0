"""The database of a gateway, found, migrated, and compared with what its data home remembers."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack

from gateway.errors import Misconfigured
from gateway.settings import Settings
from gateway.storage import connections, identity, journal, migrations, startup
from gateway.storage.cluster import Cluster
from gateway.storage.connections import Urls
from gateway.storage.writer import SYSTEM

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
    startup.require(urls.app, urls.auditor)
    return urls


def require_ours(settings: Settings, urls: Urls) -> None:
    """
    Check that the database holds the log that this data home saw, and is the one that it belongs to.

    Raises `LogSetBack` and `DatabaseOfAnother`: an operator decides (`operating`).
    """
    with connections.connect(urls.app) as connection:
        journal.compare(connection, settings.data / "checkpoints")
        identity.require(settings.data, identity.read(connection, SYSTEM))
