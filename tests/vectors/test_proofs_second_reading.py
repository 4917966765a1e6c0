"""G11: a second verifier, written from docs/evidence-format.md alone, agrees with ours."""

from __future__ import annotations

import base64
import io
import json
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proofs import verify
from proofs.keys import KeyRing
from tests.campaigns.tampering import flips, reading_once
from tests.vectors.second_reading import accepts, canonical, sha256, unpad
from tests.vectors.test_certificate_bytes import DIGEST, RAW
from tests.vectors.test_proofs_bytes import EXPORT, KEYS_FILE
from tests.world import tampering
from tests.world.logs import random_log

KEYS = json.loads(KEYS_FILE)["keys"]


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
    assert accepts(EXPORT, KEYS_FILE)
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

        theirs, ours = accepts(changed, KEYS_FILE), verify.check(io.BytesIO(changed), keys).is_good

        assert theirs == ours == (changed == EXPORT), changed


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "older"])
def test_both_verifiers_accept_logs_whose_key_is_exchanged(turns: int, is_named: bool) -> None:
    """
    G06, G11: with the first key alone both follow a log through the keys that it names, also one of an earlier release.
    """
    for seed in range(10):
        written = random_log(random.Random(seed), 40, turns=turns, is_named=is_named)

        assert accepts(written.raw, json.dumps(written.ring.document()).encode())
        assert written.check().is_good


@pytest.mark.parametrize("forgery", tampering.FORGERIES, ids=lambda forgery: forgery.__name__)
def test_both_verifiers_refuse_what_a_key_outside_its_turn_signed(forgery: tampering.Forgery) -> None:
    """
    G06, G11: what is signed outside of a key's turn, or back-dated, both refuse, and ours names the record.
    """
    for seed in range(10):
        forged = forgery(random.Random(seed))
        first = forged.log.check(kept=forged.kept).findings[0]

        assert (first.seq, first.reason) == (forged.seq, forged.reason), first.message
        if not forged.kept:
            assert not accepts(forged.log.raw, json.dumps(forged.log.ring.document()).encode())


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_of_a_log_whose_key_is_exchanged_is_blamed_on_its_line(seed: int) -> None:
    """
    G01, G06: also in entries and checkpoints at which a key is named, takes over or leaves.
    """
    draw = random.Random(seed)
    written = random_log(draw, 24, turns=4)

    with reading_once(written):
        found = flips(draw, written, 500)

    assert found.failures == ()
