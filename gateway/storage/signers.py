"""The private keys that sign the log: files in `keys/`, looked up by the id that a chain's head names.

`log.key` is the first one, `log-<key id>.key` are those made for its successors. Which of them signs is never decided
by which file is newest: the head of each chain names its signer, and moves to the next one in the transaction that
records it (`rotation`). A process that meets a name it does not know looks for the file, and refuses to write without.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gateway.errors import Misconfigured
from gateway.logs import log
from gateway.storage import connections
from gateway.storage.connections import Connection, Cursor
from proofs.errors import KeyUnreadable
from proofs.keys import PrivateKey, PublicKey

FIRST = "log.key"
RETIRED = ".retired"


class LogOfAnother(Exception):
    """The database holds a log that another key signs. It must not be continued by this one."""


class SignerMissing(LookupError):
    """A chain is signed by a key that this process does not hold."""


class Signers:
    """The keys that this process can sign with. Shared by the writer's thread and the loop."""

    def __init__(self, current: PrivateKey, *, folder: Path | None = None, known: Iterable[PublicKey] = ()) -> None:
        self._folder = folder
        self._current = current
        self._held = {current.key_id: current}
        self._known = {key.key_id: key for key in known}
        self._missed: set[str] = set()
        self._lock = threading.Lock()

    @property
    def current(self) -> PrivateKey:
        """What signs where no chain says otherwise: new chains, and certificates."""
        return self._current

    def find(self, key_id: str) -> PrivateKey:
        """The key of that id; one that was not known is the newest from here on. Raises `SignerMissing`."""
        with self._lock:
            found = self._held.get(key_id)
            if found is None:
                found = _find(self._folder, key_id)
                if found is None:
                    self._miss(key_id)
                    raise SignerMissing(f"log: signed by `{key_id}`, and no file in `keys/` holds that key")
                self._held[key_id] = self._current = found
        return found

    def publics(self) -> tuple[PublicKey, ...]:
        """Every key that signed or may sign here, so that what another process signed since is recognised."""
        with self._lock:
            found = {key.key_id: key.public for key in (*self._held.values(), *_read(self._folder))}
        return tuple({**self._known, **found}.values())

    def _miss(self, key_id: str) -> None:
        if key_id not in self._missed:  # Said once: every write until then meets it.
            self._missed.add(key_id)
            log().error("log_key_missing", key=key_id)


def open_keys(folder: Path, connection: Connection, tenant: str) -> Signers:
    """
    The keys in `folder`, with the one that signs the chain of `tenant` as the current one.

    An empty log gets a key of its own. Two keys on one chain would leave a log that verifies with neither, so a key
    that is missing is never made anew: raises `LogOfAnother`, which says what to do, or `Misconfigured` for a file that
    cannot be used.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted, known = _recorded(connection, tenant)
    first = folder / FIRST
    if wanted is None and not first.exists():
        with suppress(FileExistsError):  # Another process on this home was faster: its key is the one.
            PrivateKey.generate().save(first)
    current = load(first) if wanted is None else _find(folder, wanted)
    if current is None:
        ours = f"`keys/{FIRST}` is `{load(first).key_id}`" if first.exists() else f"`keys/{FIRST}` is missing"
        raise LogOfAnother(
            f"{ours}, but the database holds a log that `{wanted}` signs: put that key back from its backup, or start"
            " with an empty database"
        )
    return Signers(current, folder=folder, known=known)


def load(file: Path) -> PrivateKey:
    """The key in a file. Raises `Misconfigured`, which names the file and says what to do."""
    try:
        return PrivateKey.load(file)
    except KeyUnreadable as error:
        raise Misconfigured(f"`keys/{file.name}`: {error}: put it back from its backup") from error


def prepare(folder: Path, in_force: Iterable[str]) -> PrivateKey:
    """The key that is to sign next: one that was prepared and has had no turn yet, or a new one, durable on return."""
    spent = set(in_force)
    for key in _read(folder):
        if key.key_id not in spent:
            return key
    key = PrivateKey.generate()
    key.save(folder / f"log-{key.key_id}.key")
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return key


def retire(folder: Path, key_ids: Iterable[str]) -> list[Path]:
    """Set aside the files of keys that had their turn: no process takes them up again. Gives where they are now."""
    spent = set(key_ids)
    return [path.rename(path.with_name(path.name + RETIRED)) for path in _files(folder) if load(path).key_id in spent]


class Turn(NamedTuple):
    """A key that signs a chain's checkpoints above the size `seq`, up to the next turn."""

    tenant: str
    seq: int
    key: PublicKey


def turns(cursor: Cursor) -> list[Turn]:
    """The keys that the log names, chain by chain, of the tenants that the transaction may read."""
    cursor.execute("select tenant, seq, public_key from lockgate.log_keys order by tenant, seq")
    return [Turn(tenant, seq, PublicKey.from_text(public)) for tenant, seq, public in cursor.fetchall()]


def _recorded(connection: Connection, tenant: str) -> tuple[str | None, list[PublicKey]]:
    """Who signs the chain, None for an empty one, and the keys that the log names."""
    with connections.transaction(connection, [tenant]) as cursor:
        newest = cursor.execute(
            """select coalesce(
                (select signer from lockgate.heads where tenant = %s),
                (select key_id from lockgate.checkpoints where tenant = %s order by size desc limit 1))""",
            (tenant, tenant),
        ).fetchone()
        named = cursor.execute("select public_key from lockgate.log_keys order by seq").fetchall()
    return (newest[0] if newest else None), [PublicKey.from_text(text) for (text,) in named]


def _find(folder: Path | None, key_id: str) -> PrivateKey | None:
    return next((key for key in _read(folder) if key.key_id == key_id), None)


def _read(folder: Path | None) -> list[PrivateKey]:
    """Every key that can be read: whoever needs one of the others misses it by its id."""
    if folder is None:
        return []
    found = []
    for path in _files(folder):
        with suppress(Misconfigured):
            found.append(load(path))
    return found


def _files(folder: Path) -> list[Path]:
    return [path for path in (folder / FIRST, *sorted(folder.glob("log-*.key"))) if path.exists()]
