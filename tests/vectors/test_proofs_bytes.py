"""The bytes of evidence are exactly these. A change here is a new version of the format, never a repair."""

from __future__ import annotations

import io

import pytest

from proofs import approvals, canonical, chain, commitments, export, receipts, signatures, tree, verify
from proofs.keys import KeyRing, KeyUnreadable, PrivateKey, PublicKey

SIGNER = PrivateKey.from_seed(bytes(range(32)))
SALT = bytes(16)
PAYLOAD = b'{"a":1}'
COMMITMENT = "sha256:c5b79dffea447aa7d30e6434eb587a25c81a78a33d7d318bd105ab93d6d9de4b"
LEAVES = ["d093f77f60fa2c61aeb0369eec64a70b5e1dee69e37332a8dde920874be49d5f"]
LEAVES += ["f90357dd325237a371efd034f7d9b8a7d369fab48cf3dbfe48a54748820244b6"]
EXPORT = (
    b'{"checkpoints":1,"environment":"dev","lockgate_export":1,"size":2,"tenant":"acme"}\n'
    b'{"entry":{"at_ms":1790000000000,"environment":"dev","kind":"GENESIS","previous":'
    b'"0000000000000000000000000000000000000000000000000000000000000000","seq":1,"tenant":"acme","v":1},"payload":null}\n'
    b'{"entry":{"at_ms":1790000000000,"environment":"dev","kind":"NOTE","payload":'
    b'"sha256:c5b79dffea447aa7d30e6434eb587a25c81a78a33d7d318bd105ab93d6d9de4b","previous":'
    b'"d093f77f60fa2c61aeb0369eec64a70b5e1dee69e37332a8dde920874be49d5f","seq":2,"tenant":"acme","v":1},'
    b'"payload":{"body":{"a":1},"salt":"AAAAAAAAAAAAAAAAAAAAAA"}}\n'
    b'{"checkpoint":{"at_ms":1790000000000,"environment":"dev","key_id":"key_56475aa75463474c","root":'
    b'"5720dc4741ef408713127b21c25a77ff0929cbef4ec923bbea08b7ed462e525d","signature":'
    b'"2o23zFhcWtrfS2CXQpKBxFDU4jfRZqVGmUL0CaihxLUH6QMjTRYBHlXWvMpOWwsq_9F3khic0Ybr3owmiwwfDQ",'
    b'"size":2,"tenant":"acme"}}\n'
)
KEYS_FILE = (
    b'{"keys":[{"algorithm":"Ed25519","key_id":"key_56475aa75463474c","public_key":'
    b'"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg","purposes":["checkpoint"],"tenant":"*"}]}'
)
STATEMENT = (
    b'{"approver":"person/finley","bundle":"sha256:0303030303030303030303030303030303030303030303030303030303030303",'
    b'"call":"sha256:0101010101010101010101010101010101010101010101010101010101010101","key":"key_56475aa75463474c",'
    b'"nonce":"AAAAAAAAAAAAAAAAAAAAAA","not_after":"2026-11-20T05:00:00Z","reason":"","requester":"agent/triage-7",'
    b'"shown":"","tool":"sha256:0202020202020202020202020202020202020202020202020202020202020202","verdict":"approve"}'
)
APPROVAL = "JbzdqLzfNCYte8Z9wTuPZE78h9WPoBcCjjNftKEYFaps6Koodq0esVglLXIq_2H0nwMaaqBbW_-qv3wvy0yJCg"


def sealed() -> chain.Sealed:
    """The two entries of the export above."""
    drafts = [{"tenant": "acme", "kind": "GENESIS"}, {"tenant": "acme", "kind": "NOTE", "payload": COMMITMENT}]
    head = chain.Head(tenant="acme")
    return chain.seal(head, drafts, environment="dev", at_ms=1_790_000_000_000, signer=SIGNER)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ({"b": [True, None, -1], "a": "x", "B": {}, "_": []}, b'{"B":{},"_":[],"a":"x","b":[true,null,-1]}'),
        ('"\\/\b\f\n\r\t\x01\x1f\x7f', b'"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f"'),
        ("é€😀\u2028", b'"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x80\xa8"'),
        (2**53 - 1, b"9007199254740991"),
    ],
)
def test_canonical_bytes(value: object, raw: bytes) -> None:
    """
    Keys in order of code points, shortest escapes, UTF-8, no white space.
    """
    assert canonical.encode(value) == raw


def test_commitment() -> None:
    """
    A commitment is SHA-256 over context string, NUL, salt and data.
    """
    assert commitments.commit("payload", SALT, PAYLOAD) == COMMITMENT
    assert commitments.opens(COMMITMENT, "payload", SALT, PAYLOAD)
    assert not commitments.opens(COMMITMENT, "call", SALT, PAYLOAD)
    assert not commitments.opens(COMMITMENT, "payload", b"x" * 16, PAYLOAD)


def test_key_id_and_texts() -> None:
    """
    A key id is the start of SHA-256 over the raw public key; keys travel as base64url, and standard base64 reads too.
    """
    assert SIGNER.text == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert SIGNER.public.text == "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
    assert SIGNER.key_id == "key_56475aa75463474c"
    assert PublicKey.from_text("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=") == SIGNER.public


def test_signature_of_rfc_8032() -> None:
    """
    Keys and signatures are those of RFC 8032, test 1.
    """
    key = PrivateKey.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))

    assert key.public.raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b"
    )


def test_signed_message() -> None:
    """
    What is signed is the context string, NUL, and the canonical statement.
    """
    context = signatures.context("approval", "dev", "acme")

    assert signatures.message(context, {"b": 1, "a": 2}) == b'lockgate/approval/v1/dev/acme\x00{"a":2,"b":1}'


@pytest.mark.parametrize(
    ("size", "root"),
    [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (6, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_roots_of_certificate_transparency(size: int, root: str) -> None:
    """
    The tree gives the roots of Certificate Transparency's published test vectors.
    """
    entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]

    assert tree.root([tree.leaf_hash(bytes.fromhex(entry)) for entry in entries[:size]]).hex() == root


def test_entries_and_export() -> None:
    """
    The same drafts give the same entries, hashes, checkpoint and lines, and the verifier accepts them.
    """
    batch = sealed()
    records = [
        export.Record(body=batch.entries[0].body),
        export.Record(body=batch.entries[1].body, salt=SALT, payload=PAYLOAD),
    ]

    lines = export.write(
        export.Header(tenant="acme", environment="dev", size=2, checkpoints=1), [*records, batch.checkpoint]
    )

    assert [link.leaf.hex() for link in batch.entries] == LEAVES
    assert b"".join(lines) == EXPORT
    assert verify.check(io.BytesIO(EXPORT), KeyRing.parse(KEYS_FILE)).is_good


def test_receipt() -> None:
    """
    A receipt is entry, path, checkpoint and salt, in canonical bytes.
    """
    batch = sealed()
    checkpoint = batch.checkpoint.document()

    receipt = receipts.issue(batch.entries[1].body, batch.entries[1].path, checkpoint, payload_salt=SALT)

    assert receipt["path"] == [LEAVES[0]]
    assert receipt["payload_salt"] == "AAAAAAAAAAAAAAAAAAAAAA"
    assert receipts.verify(receipt, KeyRing.parse(KEYS_FILE), payload=PAYLOAD)["seq"] == 2


def test_approval_statement() -> None:
    """
    A statement has these eleven members; its signature is over exactly these bytes.
    """
    statement = approvals.parse(canonical.parse(STATEMENT))

    signature = approvals.sign(statement, key=SIGNER, environment="dev", tenant="acme")

    assert statement.canonical() == STATEMENT
    assert signature == APPROVAL
    assert statement.not_after_ms == 1_795_150_800_000


def test_keys_file() -> None:
    """
    A keys file reads back as the bytes that it was.
    """
    assert canonical.encode(KeyRing.parse(KEYS_FILE).document()) == KEYS_FILE


@pytest.mark.parametrize(
    "raw",
    [
        "0" * 64,
        "01" + "0" * 62,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ec" + "f" * 60 + "7f",
        "ed" + "f" * 60 + "7f",
        "ee" + "f" * 60 + "ff",
        "02" + "0" * 62,
    ],
    ids=["zero", "one", "eight", "eight_negative", "two", "above_field", "above_field_one", "off_curve"],
)
def test_weak_public_key_is_refused(raw: str) -> None:
    """
    Points of small order, encodings beyond the field, and what is no point are no keys.
    """
    with pytest.raises(KeyUnreadable, match="not a usable point"):
        PublicKey(bytes.fromhex(raw))
