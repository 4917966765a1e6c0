"""What somebody does to a log: to its lines, without a key, or to its history, with one that he stole.

Each gives the record at which the verifier must find it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from proofs import canonical, checkpoints, export, log_keys
from proofs.checkpoints import Checkpoint
from proofs.export import Header, Record
from proofs.keys import PrivateKey
from tests.world.logs import Log, Writer

Change = Callable[[random.Random, Log], "Changed"]
"""Of the lines, by whoever holds no key."""
Forgery = Callable[[random.Random], "Forged"]
"""Of the history, by whoever holds one."""


@dataclass(frozen=True)
class Changed:
    """Lines that are not those of the log."""

    raw: bytes
    lines: frozenset[int]
    """Where the first finding may be, from 1."""
    kept: tuple[Checkpoint, ...] = ()


@dataclass(frozen=True)
class Forged:
    """A log that was signed as it is, and should not have been."""

    log: Log
    seq: int
    reason: str
    kept: tuple[Checkpoint, ...] = ()


def deleted(draw: random.Random, log: Log) -> Changed:
    """A line is gone."""
    at = draw.randrange(1, len(log.lines))
    first = max(place for place in range(at) if not log.lines[place].startswith(b'{"entry"')) + 1
    # The next line shows it; where a checkpoint went, the first entry that it covered, or the header's count.
    return Changed(b"".join((*log.lines[:at], *log.lines[at + 1 :])), frozenset({1, first + 1, at, at + 1}))


def swapped(draw: random.Random, log: Log) -> Changed:
    """Two neighbours have changed places."""
    at = draw.randrange(1, len(log.lines) - 1)
    lines = [*log.lines[:at], log.lines[at + 1], log.lines[at], *log.lines[at + 2 :]]
    return Changed(b"".join(lines), frozenset({at, at + 1, at + 2}))


def duplicated(draw: random.Random, log: Log) -> Changed:
    """A line stands twice."""
    at = draw.randrange(len(log.lines))
    return Changed(b"".join((*log.lines[: at + 1], *log.lines[at:])), frozenset({at + 2}))


def inserted(draw: random.Random, log: Log) -> Changed:
    """A forged entry takes the number of another, with a fitting link."""
    at = draw.choice([at for at, line in enumerate(log.lines) if line.startswith(b'{"entry"')])
    place = export.parse_line(log.lines[at])
    assert isinstance(place, export.Read)
    forged = export.entry_line(Record(body=canonical.encode({**place.entry, "kind": "NOTE", "payload": None})))
    return Changed(b"".join((*log.lines[:at], forged, *log.lines[at:])), frozenset({at + 1, at + 2}))


def truncated(draw: random.Random, log: Log) -> Changed:
    """Cut after a checkpoint, header and all: whole by itself, and short of any later checkpoint that was kept."""
    keep = draw.randrange(1, len(log.checkpoints))
    size = log.checkpoints[keep - 1].size
    header = export.header_line(Header(tenant="acme", environment="dev", size=size, checkpoints=keep))
    raw = b"".join((header, *log.lines[1 : 1 + size + keep]))
    return Changed(raw, frozenset({1 + size + keep}), (log.checkpoints[-1],))


CHANGES: tuple[Change, ...] = (deleted, swapped, duplicated, inserted, truncated)


def rewritten(draw: random.Random) -> Forged:
    """The thief of the present key writes history anew from some entry on; kept checkpoints speak against it."""
    seed, at = draw.getrandbits(32), draw.randrange(2, 30)
    kept = _story(random.Random(seed), 30).log().checkpoints
    return Forged(_story(random.Random(seed), 30, altered=at).log(), at, "forked", kept)


def back_dated(draw: random.Random) -> Forged:
    """The thief of the present key signs something of yesterday today."""
    writer = _story(draw, draw.randrange(1, 20))
    writer.at_ms -= draw.choice((1, 86_400_000))
    writer.batch([{"reason": "yesterday"}])
    return Forged(writer.log(), writer.head.size, "back_dated")


def checkpoint_of_another_time(draw: random.Random) -> Forged:
    """A checkpoint claims another time than its last entry has."""
    writer = _story(draw, draw.randrange(1, 20))
    checkpoint = writer.checkpoints[-1]
    signed = checkpoints.sign(
        tenant="acme",
        environment="dev",
        size=checkpoint.size,
        root=checkpoint.root,
        at_ms=checkpoint.at_ms + draw.choice((-1, 1)),
        signer=writer.signer,
    )
    writer.items[-1] = signed
    return Forged(writer.log(), checkpoint.size, "back_dated")


def key_that_had_its_turn(draw: random.Random) -> Forged:
    """The thief of a former key signs on after it was replaced."""
    writer = _story(draw, draw.randrange(1, 20))
    former = writer.signer
    writer.hand_over(_key(draw))
    _go_on(draw, writer)
    writer.signer = former
    writer.batch([{}])
    return Forged(writer.log(), writer.head.size, "key_out_of_window")


def key_before_its_turn(draw: random.Random) -> Forged:
    """The next key signs something before it was named: an old time under a new key."""
    writer = _story(draw, draw.randrange(1, 20))
    present, following = writer.signer, _key(draw)
    writer.signer = following
    writer.batch([{}])
    seq = writer.head.size
    writer.signer = present
    writer.hand_over(following)
    return Forged(writer.log(), seq, "key_out_of_window")


def key_that_names_itself(draw: random.Random) -> Forged:
    """A stranger's key names itself the next one: the checkpoint over that is not the former key's."""
    writer = _story(draw, draw.randrange(1, 20))
    stranger = _key(draw)
    members = log_keys.follow(
        tenant="acme", environment="dev", seq=writer.head.size + 1, before=writer.signer.public, key=stranger
    )
    writer.signer = stranger
    writer.batch([{"kind": log_keys.KIND, **members}])
    return Forged(writer.log(), writer.head.size, "key_out_of_window")


def key_that_nobody_holds(draw: random.Random) -> Forged:
    """The thief of the present key names another's key, without that one's signature."""
    writer = _story(draw, draw.randrange(1, 20))
    strangers, other = _key(draw), _key(draw)
    forged = log_keys.follow(
        tenant="acme", environment="dev", seq=writer.head.size + 1, before=writer.signer.public, key=other
    )
    writer.hand_over(strangers, possession=forged["possession"])
    return Forged(writer.log(), writer.head.size, "key_forged")


def possession_of_another_place(draw: random.Random) -> Forged:
    """A key's own signature is taken from another entry."""
    writer = _story(draw, draw.randrange(2, 20))
    following = _key(draw)
    elsewhere = log_keys.follow(
        tenant="acme", environment="dev", seq=writer.head.size, before=writer.signer.public, key=following
    )
    writer.hand_over(following, possession=elsewhere["possession"])
    return Forged(writer.log(), writer.head.size, "key_forged")


def key_named_and_not_signed_for(draw: random.Random) -> Forged:
    """A KEY entry in the midst of a batch: the key before it signs no checkpoint that ends with it."""
    writer = _story(draw, draw.randrange(1, 20))
    following, seq = _key(draw), writer.head.size + 1
    members = log_keys.follow(tenant="acme", environment="dev", seq=seq, before=writer.signer.public, key=following)
    writer.batch([{"kind": log_keys.KIND, **members}, {}])
    return Forged(writer.log(), seq, "key_unsigned")


def key_that_comes_back(draw: random.Random) -> Forged:
    """A key that had its turn is named again: two windows for one key."""
    writer = _story(draw, draw.randrange(1, 20))
    former = writer.signer
    writer.hand_over(_key(draw))
    _go_on(draw, writer)
    writer.hand_over(former)
    return Forged(writer.log(), writer.head.size, "key_mismatch")


def key_of_two_windows(draw: random.Random) -> Forged:
    """Two keys are named one after the other by the same key: two keys in one window."""
    writer = _story(draw, draw.randrange(1, 20))
    present = writer.signer
    writer.hand_over(_key(draw))
    writer.signer = present
    writer.hand_over(_key(draw))
    return Forged(writer.log(), writer.head.size, "key_mismatch")


FORGERIES: tuple[Forgery, ...] = (
    rewritten,
    back_dated,
    checkpoint_of_another_time,
    key_that_had_its_turn,
    key_before_its_turn,
    key_that_names_itself,
    key_that_nobody_holds,
    possession_of_another_place,
    key_named_and_not_signed_for,
    key_that_comes_back,
    key_of_two_windows,
)


def _story(draw: random.Random, entries: int, *, altered: int = 0) -> Writer:
    """A writer in the middle of a log, one entry a batch; `altered` is an entry that says something else."""
    writer = Writer(_key(draw))
    while writer.head.size < entries:
        writer.at_ms += draw.choice((0, 1, 1000))
        seq = writer.head.size + 1
        writer.batch([{"reason": "altered" if seq == altered else draw.choice(("a", "b"))}])
    return writer


def _go_on(draw: random.Random, writer: Writer) -> None:
    for _ in range(draw.randrange(3)):
        writer.batch([{}])


def _key(draw: random.Random) -> PrivateKey:
    return PrivateKey.from_seed(draw.randbytes(32))
