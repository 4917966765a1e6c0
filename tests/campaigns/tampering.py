"""P5: exports with every kind of change, before two verifiers that were written apart.

1. flips      one bit of an export of 1,000 records, anywhere: blamed on the line that it is in
2. changes    lines deleted, swapped, repeated, inserted, cut: found where they happened
3. forgeries  histories signed with a stolen key: rewritten, back-dated, outside of a key's turn: found by name
4. readings   good and changed exports before both verifiers: one verdict
5. commands   changed exports through `python -m proofs verify`: exit status 1, and 0 for the good one
6. writers    64 at once on two ledgers over one database, 500 acts each, in the first part: no fork, no gap

Flips, changes and forgeries are verified in this process, and lines of the good export are read once: what was read
already reads the same again. The commands are the verifier as an auditor runs it.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from deploy.demo.world import ROOT
from gateway.ledger import Append, Draft
from gateway.storage import migrations
from gateway.storage.cluster import Cluster
from proofs import export, signatures
from tests.campaigns.tallies import Part, Tally
from tests.vectors.second_reading import accepts
from tests.world import acts
from tests.world.logs import Log, random_log
from tests.world.tampering import CHANGES, FORGERIES, Changed

PARTS = 4
RECORDS = 1_000
GUARANTEE = "P5"
WRITERS, WRITER_ACTS = 64, 500


def run(part: Part) -> Iterable[Tally]:
    """One share of each."""
    draw = part.chance()
    log = random_log(draw, part.size(RECORDS, 120), turns=3)
    with reading_once(log):
        part.tell("flips")
        yield flips(draw, log, part.size(2_500, 60))
        part.tell("changes")
        yield changes(draw, log, part.size(250, 5))
    part.tell("forgeries")
    yield forgeries(draw, part.size(100, 1))
    part.tell("readings")
    yield from readings(draw, part.size(250, 5))
    part.tell("commands")
    yield commands(draw, log, part.size(60, 3))
    if part.number == 0:  # One chain for all of them, and not a shorter one in each part.
        part.tell("writers")
        yield writers(part.size(WRITER_ACTS, 2))


def flips(draw: random.Random, log: Log, times: int) -> Tally:
    """G01: one bit, anywhere."""
    ends, failures = list(accumulate(len(line) for line in log.lines)), []
    for bit in draw.sample(range(8 * len(log.raw)), times):
        line = bisect_right(ends, bit // 8) + 1
        found = log.check(flipped(log.raw, bit)).findings
        # What the header says of the whole shows at the first entry.
        if not found or found[0].line not in ({1, 2} if line == 1 else {line}):
            failures.append(f"bit {bit} of line {line}: {found[0].message if found else 'not found'}")
    return Tally(
        guarantee=GUARANTEE, tried=f"bits of an export of {RECORDS:,} records", times=times, failures=tuple(failures)
    )


def changes(draw: random.Random, log: Log, times: int) -> Tally:
    """Of each kind so many."""
    failures = []
    for change in CHANGES:
        for _ in range(times):
            changed = change(draw, log)
            found = log.check(changed.raw, changed.kept).findings
            if not found or found[0].line not in changed.lines:
                failures.append(f"{change.__name__}: {found[0].message if found else 'not found'}")
    tried = "lines deleted, swapped, repeated, inserted, cut"
    return Tally(guarantee=GUARANTEE, tried=tried, times=times * len(CHANGES), failures=tuple(failures))


def forgeries(draw: random.Random, times: int) -> Tally:
    """Of each kind so many."""
    failures = []
    for forgery in FORGERIES:
        for _ in range(times):
            forged = forgery(draw)
            found = forged.log.check(kept=forged.kept).findings
            if not found or (found[0].seq, found[0].reason) != (forged.seq, forged.reason):
                failures.append(f"{forgery.__name__}: {found[0].message if found else 'not found'}")
    tried = "histories rewritten, back-dated or signed outside of a key's turn"
    return Tally(guarantee=GUARANTEE, tried=tried, times=times * len(FORGERIES), failures=tuple(failures))


def readings(draw: random.Random, times: int) -> Iterator[Tally]:
    """G11: good and changed exports, each before both verifiers."""
    good, bad = [], []
    for _ in range(times):
        log = random_log(draw, draw.randrange(2, 60), turns=draw.choice((0, 0, 1, 2)), is_named=draw.random() < 0.8)
        keys = json.dumps(log.ring.document()).encode()
        if not (log.check().is_good and accepts(log.raw, keys)):
            good.append(f"a good export of {len(log.lines)} lines is refused")
        changed = _changed(draw, log)
        ours, theirs = log.check(changed).is_good, accepts(changed, keys)
        if ours or theirs:
            bad.append(f"a changed export of {len(log.lines)} lines: ours {ours}, the second {theirs}")
    yield Tally(guarantee=GUARANTEE, tried="good exports before two verifiers", times=times, failures=tuple(good))
    yield Tally(guarantee=GUARANTEE, tried="changed exports before two verifiers", times=times, failures=tuple(bad))


def commands(draw: random.Random, log: Log, times: int) -> Tally:
    """The verifier as a process."""
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "keys.json").write_text(json.dumps(log.ring.document()))
        wanted = [(log.raw, 0), *((_changed(draw, log), 1) for _ in range(times))]
        for raw, status in wanted:
            (folder / "log.jsonl").write_bytes(raw)
            command = [sys.executable, "-m", "proofs", "verify", folder / "log.jsonl", "--keys", folder / "keys.json"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode != status:
                failures.append(f"exit {done.returncode}, expected {status}: {done.stdout}{done.stderr}")
    return Tally(
        guarantee=GUARANTEE, tried="exports through the command line", times=len(wanted), failures=tuple(failures)
    )


def writers(acts_each: int) -> Tally:
    """G10: all at once, on a database of their own."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="lockgate-writers-") as name:
        Path(name).chmod(0o711)
        with Cluster.start(Path(name) / "cluster") as cluster:
            cluster.create_database("writers")
            urls = cluster.urls("writers")
            migrations.upgrade(urls.migrator)
            asyncio.run(_write_at_once(urls.app, acts_each))
            verdict = acts.verified(urls.app)
    failures = [finding.message for finding in verdict.findings]
    if verdict.size != WRITERS * acts_each:
        failures.append(f"{verdict.size} entries, expected {WRITERS * acts_each}")
    tried = f"acts of {WRITERS} writers at once on one chain"
    return Tally(guarantee=GUARANTEE, tried=tried, times=WRITERS * acts_each, failures=tuple(failures))


async def _write_at_once(url: str, acts_each: int) -> None:
    async with acts.books(url) as one, acts.books(url) as other:

        async def write(number: int) -> None:
            books = (one, other)[number % 2]
            for _ in range(acts_each):
                await books.commit(Append(entry=Draft(tenant=acts.ACME, kind="NOTE", members={"writer": number})))

        await asyncio.gather(*(write(number) for number in range(WRITERS)))


def flipped(raw: bytes, bit: int) -> bytes:
    """These bytes with one bit the other way round."""
    return raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :]


def _changed(draw: random.Random, log: Log) -> bytes:
    """The lines with some change that shows without any kept checkpoint."""
    kinds: list[Callable[[], bytes]] = [lambda: flipped(log.raw, draw.randrange(8 * len(log.raw)))] * 3
    alone = [change for change in CHANGES if change.__name__ != "truncated"]
    kinds += [lambda change=change: _raw(change(draw, log)) for change in alone]  # type: ignore[misc]
    return draw.choice(kinds)()


def _raw(changed: Changed) -> bytes:
    return changed.raw


@contextmanager
def reading_once(log: Log) -> Iterator[None]:
    """Read each line of this log, and verify each of its signatures, once for all verifications to come."""
    read, verify = export.parse_line, signatures.verify
    lines = {line: read(line) for line in log.lines}
    signed: dict[tuple[Any, ...], bool] = {}

    def verify_once(public: Any, context: bytes, statement: Any, signature: str) -> bool:
        known = (public.raw, context, signatures.message(context, statement), signature)
        if known not in signed:
            signed[known] = verify(public, context, statement, signature)
        return signed[known]

    export.parse_line = lambda raw: lines.get(raw) or read(raw)
    signatures.verify = verify_once
    try:
        yield
    finally:
        export.parse_line, signatures.verify = read, verify
