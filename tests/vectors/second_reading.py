"""A second verifier, written from docs/evidence-format.md alone, with nothing of ours in it. It fits on a page or two.

It answers yes or no: hashes, links, roots, signatures, and whose turn it is to sign. What payloads hold is not read.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WRONG = (AssertionError, ValueError, KeyError, TypeError, AttributeError, IndexError, InvalidSignature)


def sha256(data: bytes) -> bytes:
    """The only hash there is."""
    return hashlib.sha256(data).digest()


def canonical(value: Any) -> bytes:
    """RFC 8785, as far as the profile goes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def unpad(text: str) -> bytes:
    """Base64url without padding, in its only spelling."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert base64.urlsafe_b64encode(data).decode().rstrip("=") == text
    return data


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:]))


def key(text: str) -> Ed25519PublicKey:
    """A public key, in its only spelling."""
    return Ed25519PublicKey.from_public_bytes(unpad(text))


def key_id(text: str) -> str:
    """Section 2."""
    return "key_" + sha256(unpad(text)).hex()[:16]


class Turns:
    """Section 5: whose turn it is to sign, and section 10: who may."""

    def __init__(self, lines: list[dict[str, Any]], place: str, tenant: str) -> None:
        self.lines, self.place, self.tenant = lines, place, tenant
        self.turn: str | None = None
        self.next: str | None = None
        self.named: list[str] = []
        self.led_here: list[str] = []
        self.at_ms = 0

    def entry(self, entry: dict[str, Any]) -> None:
        """The next entry of the chain."""
        assert self.next is None
        if entry["seq"] == 1 and "log_key" in entry:
            self.turn = entry["log_key"]
            self.named = [entry["log_key"]]
        elif entry["kind"] == "KEY":
            statement = {name: entry[name] for name in ("log_key", "log_key_before", "seq")}
            self.turn = self.turn or entry["log_key_before"]
            self.named = self.named or [entry["log_key_before"]]
            assert entry["log_key_before"] == self.turn
            assert entry["log_key"] not in self.named
            signed = f"lockgate/log-key/v1/{self.place}".encode() + b"\0" + canonical(statement)
            key(entry["log_key"]).verify(unpad(entry["possession"]), signed)
            self.next = entry["log_key"]
            self.named.append(entry["log_key"])
        assert self.turn is None or entry["at_ms"] >= self.at_ms
        self.at_ms = entry["at_ms"]

    def signer(self, statement: dict[str, Any]) -> str:
        """The public key that has to have signed this checkpoint, where it is trusted."""
        listed = [line for line in self.lines if line["key_id"] == statement["key_id"]]
        trusted = [line["public_key"] for line in listed if self.fits(line, statement)]
        if self.turn is not None:
            assert statement["key_id"] == key_id(self.turn)
            assert statement["at_ms"] == self.at_ms
            assert self.turn in trusted or (self.turn in self.led_here and not listed)
            return self.turn
        return str(trusted[0])

    def fits(self, line: dict[str, Any], statement: dict[str, Any]) -> bool:
        """Whether a line of the keys file is about this checkpoint."""
        return (
            "checkpoint" in line["purposes"]
            and line["tenant"] in ("*", self.tenant)
            and line.get("size_min", 0) <= statement["size"] <= line.get("size_max", 2**53)
            and line.get("not_before_ms", 0) <= statement["at_ms"] < line.get("not_after_ms", 2**53)
        )

    def checkpoint(self) -> None:
        """After a good checkpoint: an entry that named a key is the last one that the key before it covers."""
        if self.next is not None:
            self.turn, self.next = self.next, None
            self.led_here.append(self.turn)


def second_reading(export: bytes, keys_file: bytes) -> None:
    """Raises for an export that does not hold."""
    keys = json.loads(keys_file)["keys"]
    *lines, rest = export.split(b"\n")
    assert rest == b""
    assert all(canonical(json.loads(line)) == line for line in lines)
    header, *values = map(json.loads, lines)
    assert header["lockgate_export"] == 1
    leaves: list[bytes] = []
    sizes = []
    turns = Turns(keys, f"{header['environment']}/{header['tenant']}", header["tenant"])
    for value in values:
        if "entry" in value:
            entry, payload = value["entry"], value["payload"]
            assert (entry["v"], entry["tenant"], entry["environment"]) == (1, header["tenant"], header["environment"])
            assert entry["seq"] == len(leaves) + 1
            assert entry["previous"] == (leaves[-1] if leaves else bytes(32)).hex()
            if payload is not None:
                data = b"lockgate/commitment/payload/v1\0" + unpad(payload["salt"]) + canonical(payload["body"])
                assert entry["payload"] == "sha256:" + sha256(data).hex()
            turns.entry(entry)
            leaves.append(sha256(b"\0" + canonical(entry)))
        else:
            statement = value["checkpoint"]
            signature = unpad(statement.pop("signature"))
            context = f"lockgate/checkpoint/v1/{header['environment']}/{header['tenant']}".encode()
            key(turns.signer(statement)).verify(signature, context + b"\0" + canonical(statement))
            assert (statement["size"], statement["root"]) == (len(leaves), root(leaves).hex())
            assert (statement["tenant"], statement["environment"]) == (header["tenant"], header["environment"])
            turns.checkpoint()
            sizes.append(statement["size"])
    assert (header["size"], header["checkpoints"]) == (len(leaves), len(sizes))
    assert sizes[-1] == len(leaves)


def accepts(export: bytes, keys_file: bytes) -> bool:
    """The second verifier's verdict."""
    try:
        second_reading(export, keys_file)
    except WRONG:
        return False
    return True
