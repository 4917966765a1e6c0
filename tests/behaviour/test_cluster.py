"""The embedded cluster: whoever starts it, and however it ends, what was committed is there."""

from gateway.storage import connections
from gateway.storage.connections import Urls


def test_fresh_database_is_empty_and_reachable_by_every_role(database: Urls) -> None:
    """
    The application and the auditor reach a migrated database of this test's own.
    """
    for url in (database.app, database.auditor):
        with connections.connect(url) as connection, connections.transaction(connection, ["acme"]) as cursor:
            assert cursor.execute("select count(*) from lockgate.entries").fetchall() == [(0,)]
