"""The export of one tenant's log: JSON lines that hold everything an offline verifier needs but the public keys.

Line 1 is the header, then come the entries in order, each with what its payload commitment stands for (null where
there is none or it was erased), and each checkpoint directly after the last entry that it covers. Every line is the
canonical form of its value and ends in one line feed, so a changed byte is either unreadable or a changed value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from proofs import base64url, canonical, checkpoints, commitments, shapes
from proofs.checkpoints import Checkpoint
from proofs.errors import EvidenceError, LineUnreadable, Malformed, Misshapen

VERSION = 1
LINE_BYTES_MAX = 16 * 1024 * 1024  # An entry is below a kilobyte; payloads hold one call, bounded on its way in.
_DEPTH_MAX = canonical.ENCODED_DEPTH_MAX + 3  # A line wraps a payload: line, `payload`, `body`.


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the export says it holds."""

    tenant: str
    environment: str
    size: int
    """Number of entries."""
    checkpoints: int
    """Number of checkpoints, so that a lost line shows also where a later checkpoint covers the same entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An entry as stored, with its payload."""

    body: bytes
    """Canonical bytes of the entry."""
    salt: bytes | None = None
    payload: bytes | None = None
    """Canonical bytes of the payload. None, like its salt, where there is none or it was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """An entry as read back: its members beside its bytes."""

    entry: dict[str, Any]
    record: Record
    payload: dict[str, Any] | None


def header_line(header: Header) -> bytes:
    """Return the first line."""
    return _line(
        {
            "lockgate_export": VERSION,
            "tenant": header.tenant,
            "environment": header.environment,
            "size": header.size,
            "checkpoints": header.checkpoints,
        }
    )


def entry_line(record: Record) -> bytes:
    """Return the line of an entry. Its canonical bytes, and its payload's, are taken over without reading them."""
    if record.salt is None or record.payload is None:
        return b'{"entry":%b,"payload":null}\n' % record.body
    salt = base64url.encode(record.salt).encode("ascii")
    return b'{"entry":%b,"payload":{"body":%b,"salt":"%b"}}\n' % (record.body, record.payload, salt)


def checkpoint_line(checkpoint: Checkpoint) -> bytes:
    """Return the line of a checkpoint."""
    return _line({"checkpoint": checkpoint.document()})


def write(header: Header, items: Iterable[Record | Checkpoint]) -> Iterator[bytes]:
    """Return the lines of an export. The order of `items` is the caller's: see the module."""
    yield header_line(header)
    for item in items:
        yield checkpoint_line(item) if isinstance(item, Checkpoint) else entry_line(item)


def read(stream: BinaryIO) -> Iterator[tuple[int, Header | Read | Checkpoint]]:
    """
    Return the lines of an export with their numbers, from 1. Order, hashes and signatures are not checked.

    Raises `LineUnreadable` at the first line that is not exactly what `write` writes.
    """
    for number, raw in enumerate(iter(lambda: stream.readline(LINE_BYTES_MAX), b""), start=1):
        try:
            yield number, parse_line(raw)
        except EvidenceError as error:
            raise LineUnreadable(number, error) from error


def parse_line(raw: bytes) -> Header | Read | Checkpoint:
    """Read one line with its line feed. Raises `Malformed`, `OutsideProfile` or `Misshapen`."""
    if not raw.endswith(b"\n"):
        raise Malformed("line_end", f"does not end in a line feed within {LINE_BYTES_MAX} bytes")
    value = canonical.parse(raw[:-1], depth_max=_DEPTH_MAX)
    parsed: Header | Read | Checkpoint
    if isinstance(value, dict) and "entry" in value:
        parsed = _parse_entry(value)
        again = entry_line(parsed.record)
    elif isinstance(value, dict) and "checkpoint" in value:
        parsed = checkpoints.parse(shapes.members(value, required={"checkpoint"}, form="checkpoint line")["checkpoint"])
        again = checkpoint_line(parsed)
    elif isinstance(value, dict) and "lockgate_export" in value:
        parsed = _parse_header(value)
        again = header_line(parsed)
    else:
        raise Misshapen("line", "is neither a header, nor an entry, nor a checkpoint")
    if again != raw:
        raise Malformed("not_canonical", "is not the canonical form of its value")
    return parsed


def _parse_header(value: dict[str, Any]) -> Header:
    required = {"lockgate_export", "tenant", "environment", "size", "checkpoints"}
    members = shapes.members(value, required=required, form="header")
    if members["lockgate_export"] != VERSION:
        raise Misshapen("version", f"header: expected version {VERSION} of the export")
    return Header(
        tenant=shapes.text(members, "tenant", shapes.NAME),
        environment=shapes.text(members, "environment", shapes.NAME),
        size=shapes.natural(members, "size"),
        checkpoints=shapes.natural(members, "checkpoints"),
    )


def _parse_entry(value: dict[str, Any]) -> Read:
    members = shapes.members(value, required={"entry", "payload"}, form="entry line")
    entry, beside = members["entry"], members["payload"]
    if not isinstance(entry, dict):
        raise Misshapen("form", "entry line: member `entry`: expected an object")
    body = canonical.encode(entry)
    if beside is None:
        return Read(entry=entry, record=Record(body=body), payload=None)
    opening = shapes.members(beside, required={"salt", "body"}, form="payload")
    payload = opening["body"]
    if not isinstance(payload, dict) or not isinstance(opening["salt"], str):
        raise Misshapen("form", "payload: expected `body` as an object and `salt` as text")
    salt = base64url.decode(opening["salt"], length=commitments.SALT_BYTES)
    return Read(entry=entry, record=Record(body=body, salt=salt, payload=canonical.encode(payload)), payload=payload)


def _line(value: dict[str, Any]) -> bytes:
    return canonical.encode(value) + b"\n"
