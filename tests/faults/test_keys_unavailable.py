"""What if a file that the gateway reads at its start is damaged, then or while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deploy.demo.world import GatewayFailed
from tests.world.ground import Ground

Damage = Callable[[Path], object]

DAMAGES: dict[str, Damage] = {
    "half written": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "a directory": lambda file: (file.unlink(), file.mkdir()),
}
FILES = {
    "log key": "keys/log.key",
    "redaction key": "keys/redaction.key",
    "issuers": "dev/cast/issuers.json",
    "issuers' keys": "dev/cast/issuer.jwks",
    "root keys": "dev/cast/root-keys.json",
}
BUNDLE = "dev/cast/base-bundle.json"
"""Read by the first start alone, for the genesis entry."""


@contextmanager
def damaged(field: Ground, name: str, damage: Damage) -> Iterator[None]:
    """A file is damaged meanwhile."""
    file = field.world.home / FILES.get(name, name)
    kept = file.read_bytes()
    damage(file)
    try:
        yield
    finally:
        if file.is_dir():
            file.rmdir()
        file.write_bytes(kept)
        file.chmod(0o600)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_keeps_the_gateway_from_starting(field: Ground, name: str) -> None:
    """
    M03, A09: keys of the log, of tokens, of issuers and of bundles that cannot be read: the gateway ends before it
    listens, in one line that names what is damaged, and starts again when it is mended.
    """
    field.gateway().stop()
    log = field.world.home / "dev" / "gateway.log"

    for damage in DAMAGES.values():
        said = log.stat().st_size
        with damaged(field, name, damage), pytest.raises(GatewayFailed):
            field.gateway()
        words = log.read_text(errors="replace")[said:]

        assert "Traceback" not in words
        assert words.splitlines()[-1].startswith("lockgate: ")
        assert Path(FILES[name]).stem in words.splitlines()[-1].replace(" ", "-")


def test_files_that_are_damaged_while_the_gateway_runs_change_nothing(field: Ground) -> None:
    """
    M03: what was trusted at the start is trusted until the next one, issuers and their keys for a minute, and nothing
    that is put in its place is.
    """
    assert field.refund().status == 200

    with ExitStack() as stack:
        for name in (*FILES, BUNDLE):
            stack.enter_context(damaged(field, name, DAMAGES["half written"]))
        during = field.refund()

    assert during.status == 200
