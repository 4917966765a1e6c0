"""G11, in small: a second verifier, written from docs/evidence-format.md alone, agrees with ours.

It imports nothing of ours. That it fits on a page is the point.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proofs import verify
from proofs.keys import KeyRing
from tests.vectors.test_certificate_bytes import DIGEST, RAW
from tests.vectors.test_proofs_bytes import EXPORT, KEYS_FILE

KEYS = json.loads(KEYS_FILE)["keys"]


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
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:]))


def second_reading(export: bytes, keys_file: bytes) -> None:
    """Raises for an export that does not hold."""
    keys = {key["key_id"]: key["public_key"] for key in json.loads(keys_file)["keys"]}
    *lines, rest = export.split(b"\n")
    assert rest == b""
    assert all(canonical(json.loads(line)) == line for line in lines)
    header, *values = map(json.loads, lines)
    assert header["lockgate_export"] == 1
    leaves: list[bytes] = []
    sizes = []
    for value in values:
        if "entry" in value:
            entry, payload = value["entry"], value["payload"]
            assert (entry["v"], entry["tenant"], entry["environment"]) == (1, header["tenant"], header["environment"])
            assert entry["seq"] == len(leaves) + 1
            assert entry["previous"] == (leaves[-1] if leaves else bytes(32)).hex()
            if payload is not None:
                data = b"lockgate/commitment/payload/v1\0" + unpad(payload["salt"]) + canonical(payload["body"])
                assert entry["payload"] == "sha256:" + sha256(data).hex()
            leaves.append(sha256(b"\0" + canonical(entry)))
        else:
            statement = value["checkpoint"]
            signature = unpad(statement.pop("signature"))
            context = f"lockgate/checkpoint/v1/{header['environment']}/{header['tenant']}".encode()
            raw_key = base64.urlsafe_b64decode(keys[statement["key_id"]] + "=")
            Ed25519PublicKey.from_public_bytes(raw_key).verify(signature, context + b"\0" + canonical(statement))
            assert (statement["size"], statement["root"]) == (len(leaves), root(leaves).hex())
            assert (statement["tenant"], statement["environment"]) == (header["tenant"], header["environment"])
            sizes.append(statement["size"])
    assert (header["size"], header["checkpoints"]) == (len(leaves), len(sizes))
    assert sizes[-1] == len(leaves)


def accepts(export: bytes) -> bool:
    """The second verifier's verdict."""
    try:
        second_reading(export, KEYS_FILE)
    except (AssertionError, ValueError, KeyError, TypeError, AttributeError, IndexError, InvalidSignature):
        return False
    return True


def test_certificate_by_the_page_alone() -> None:
    """
    Digest and signature of a certificate come out as docs/evidence-format.md says, §8 and §2.
    """
    document = json.loads(RAW)
    signature = unpad(document.pop("signature"))
    raw_key = base64.urlsafe_b64decode({key["key_id"]: key["public_key"] for key in KEYS}[document["key_id"]] + "=")

    Ed25519PublicKey.from_public_bytes(raw_key).verify(
        signature, b"lockgate/certificate/v1/dev/acme\0" + canonical(document)
    )
    named = {name: value for name, value in document.items() if name != "key_id"}
    assert "sha256:" + sha256(canonical(named)).hex() == DIGEST


def test_both_verifiers_accept_the_export() -> None:
    """
    What one accepts the other accepts.
    """
    assert accepts(EXPORT)
    assert verify.check(io.BytesIO(EXPORT), KeyRing.parse(KEYS_FILE)).is_good


def test_both_verifiers_refuse_the_same_changes() -> None:
    """
    G11: of 300 changed exports both refuse each one.
    """
    draw = random.Random(11)
    keys = KeyRing.parse(KEYS_FILE)

    for _ in range(300):
        at = draw.randrange(len(EXPORT))
        changed = (
            EXPORT[:at] + draw.choice([b"", bytes([EXPORT[at] ^ 1 << draw.randrange(8)]), b"0"]) + EXPORT[at + 1 :]
        )

        theirs, ours = accepts(changed), verify.check(io.BytesIO(changed), keys).is_good

        assert theirs == ours == (changed == EXPORT), changed
