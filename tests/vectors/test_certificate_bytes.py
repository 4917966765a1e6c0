"""The bytes of a certificate are exactly these. A change here is a new form, never a repair."""

from __future__ import annotations

from proofs import canonical, certificates
from proofs.certificates import Answer, Certificate, Mutation, Obligation, Premise, Solver, Vacuity, Verdict
from proofs.keys import KeyRing, PrivateKey, TrustedKey

SIGNER = PrivateKey.from_seed(bytes(range(32)))
DIGESTS = tuple(f"sha256:{number:02x}" + 31 * f"{number:02x}" for number in range(8))
CERTIFICATE = Certificate(
    tenant="acme",
    environment="dev",
    bundle=DIGESTS[0],
    policies=DIGESTS[1],
    invariants=DIGESTS[2],
    schema=DIGESTS[3],
    tools={"issue_refund": DIGESTS[4]},
    engine="cedarpy 4.12.2",
    encoder="lockgate-obligations 2",
    solvers={
        "z3": Solver(version="5.4.0", options=("random_seed=0", "rlimit=2000000")),
        "cvc5": Solver(version="1.4.2", options=("incremental=true",)),
    },
    obligations=(
        Obligation(
            kind="invariant",
            subject="refund-cap",
            action="issue_refund",
            principal="Agent",
            resource="Order",
            digest=DIGESTS[5],
            verdict=Verdict.PROVED,
            answers={"z3": Answer.UNSATISFIABLE, "cvc5": Answer.UNSATISFIABLE},
        ),
    ),
    vacuity=(
        Vacuity(
            action="issue_refund",
            principal="Agent",
            resource="Order",
            premise=Premise.REACHABLE,
            digest=DIGESTS[6],
            answers={"z3": Answer.SATISFIABLE, "cvc5": Answer.SATISFIABLE},
        ),
    ),
    alive=("agent-registered",),
    accepted=(),
    mutation=Mutation(mutants=3, equivalent=1, caught=1, by_proof=1, by_cases=0, survivors=("refund-cap 2",)),
    unmeasured="",
    assumptions=("Integers lie in their ranges.",),
    at_ms=1_790_000_000_000,
)
RAW = (
    b'{"accepted":[],"alive":["agent-registered"],"assumptions":["Integers lie in their ranges."],'
    b'"at_ms":1790000000000,"bundle":"sha256:0000000000000000000000000000000000000000000000000000000000000000",'
    b'"encoder":"lockgate-obligations 2","engine":"cedarpy 4.12.2","environment":"dev",'
    b'"invariants":"sha256:0202020202020202020202020202020202020202020202020202020202020202",'
    b'"key_id":"key_56475aa75463474c","lockgate_certificate":2,"mutation":{"by_cases":0,"by_proof":1,"caught":1,'
    b'"equivalent":1,"mutants":3,"survivors":["refund-cap 2"]},"obligations":[{"action":"issue_refund",'
    b'"answers":{"cvc5":"unsat","z3":"unsat"},'
    b'"digest":"sha256:0505050505050505050505050505050505050505050505050505050505050505","kind":"invariant",'
    b'"principal":"Agent","resource":"Order","subject":"refund-cap","verdict":"proved"}],'
    b'"policies":"sha256:0101010101010101010101010101010101010101010101010101010101010101",'
    b'"schema":"sha256:0303030303030303030303030303030303030303030303030303030303030303",'
    b'"signature":"ztuHhTDPWOvCIOxTWZBS8DJs0xpm5rASUYUAFfX5CjPRk7AVFYPzJxXC1pZk3UVbVHX-hFlTe6xFk75c0-sCAA",'
    b'"solvers":{"cvc5":{"options":["incremental=true"],"version":"1.4.2"},"z3":{"options":["random_seed=0",'
    b'"rlimit=2000000"],"version":"5.4.0"}},"tenant":"acme",'
    b'"tools":{"issue_refund":"sha256:0404040404040404040404040404040404040404040404040404040404040404"},'
    b'"unmeasured":"","vacuity":[{"action":"issue_refund","answers":{"cvc5":"sat","z3":"sat"},'
    b'"digest":"sha256:0606060606060606060606060606060606060606060606060606060606060606","premise":"reachable",'
    b'"principal":"Agent","resource":"Order"}]}'
)
DIGEST = "sha256:4d5df64ad21b12851612c4f25764d6f78fb73b002d9695370b0d9b8861384a86"


def test_certificate_bytes() -> None:
    """
    Signed document and digest of a certificate, to the byte.
    """
    signed = certificates.sign(CERTIFICATE, SIGNER)

    assert canonical.encode(signed.document()) == RAW
    assert CERTIFICATE.digest == DIGEST


def test_certificate_bytes_read_back() -> None:
    """
    The bytes are read as the same certificate, and the signature holds.
    """
    keys = KeyRing((TrustedKey(public=SIGNER.public, purposes=frozenset({"certificate"})),))

    assert certificates.verify(certificates.parse(canonical.parse_exact(RAW)), keys) == CERTIFICATE
