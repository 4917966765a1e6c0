"""Check exports, receipts and certificates offline: `python -m proofs verify EXPORT --keys KEYS`.

Exit status: 0 it holds · 1 it does not, and the output names the first bad entry · 2 wrong usage · 3 a file that
cannot be read, or keys or kept checkpoints that cannot be used.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proofs import canonical, certificates, receipts, verify
from proofs.errors import EvidenceError, Malformed, VerificationError
from proofs.keys import KeyRing
from proofs.verify import Verdict

GOOD, BAD, BAD_INPUT = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except OSError as error:
        return _refuse(f"`{error.filename}`: {error.strerror}")
    except EvidenceError as error:
        return _refuse(str(error))


def _verify(options: Namespace) -> int:
    keys = KeyRing.load(options.keys)
    kept = [checkpoint for path in options.checkpoint for checkpoint in verify.read_checkpoints(path.read_bytes())]
    with options.export.open("rb") as stream:
        verdict = verify.check(stream, keys, kept)
    _print(verdict.document() if options.json else _sentences(verdict))
    return GOOD if verdict.is_good else BAD


def _receipt(options: Namespace) -> int:
    keys = KeyRing.load(options.keys)
    receipt = canonical.parse(options.receipt.read_bytes(), depth_max=receipts.DEPTH_MAX)
    payload = None
    if options.payload:
        opened = canonical.parse(options.payload.read_bytes(), depth_max=receipts.DEPTH_MAX)
        payload = canonical.encode(opened)
    try:
        entry = receipts.verify(receipt, keys, payload=payload)
    except EvidenceError as error:
        wrong = {"good": False, "reason": error.reason, "message": str(error)}
        _print(wrong if options.json else f"bad: {error}")
        return BAD
    good = f"good: entry {entry['seq']} ({entry.get('kind')}) of tenant `{entry['tenant']}` is in the signed log"
    _print({"good": True, "entry": entry} if options.json else good)
    return GOOD


def _certificate(options: Namespace) -> int:
    keys = KeyRing.load(options.keys)
    signed = certificates.parse(canonical.parse(_read(options.certificate)))
    try:
        certificate = certificates.verify(signed, keys)
        if options.bundle:
            certificates.require_bundle(certificate, canonical.parse(_read(options.bundle)))
        certificates.require_proved(certificate)
    except VerificationError as error:
        wrong = {"good": False, "reason": error.reason, "message": str(error)}
        _print(wrong if options.json else f"bad: {error}")
        return BAD
    solvers = " and ".join(f"{name} {solver.version}" for name, solver in sorted(certificate.solvers.items()))
    compared = "" if options.bundle else ", not compared: no --bundle was given"
    good = (
        f"good: {certificate.digest}\n"
        f"      {len(certificate.obligations)} obligations and {len(certificate.vacuity)} premises "
        f"over {len(certificate.tools)} tools, by {solvers}\n"
        f"      bundle {certificate.bundle}{compared}\n"
        "      `python -m invariants recheck` shows whether they are"
    )
    _print({"good": True, "digest": certificate.digest, "bundle": certificate.bundle} if options.json else good)
    return GOOD


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(certificates.BYTES_MAX + 1)
    if len(raw) > certificates.BYTES_MAX:
        raise Malformed("length", f"`{path.name}`: at most {certificates.BYTES_MAX} bytes expected")
    return raw


def _sentences(verdict: Verdict) -> str:
    if verdict.findings:
        more = [f"     {finding.message}" for finding in verdict.findings[1:]]
        return "\n".join([f"bad: {verdict.findings[0].message}", *more])
    return (
        f"good: {verdict.size} entries of tenant `{verdict.tenant}` in `{verdict.environment}`, "
        f"{verdict.checkpoints} signed checkpoints\n"
        f"      {verdict.payloads} payloads opened, {verdict.erased} erased, {verdict.approvals} approvals and "
        f"{verdict.certificates} certificates verified, "
        f"{verdict.effects} effects, {verdict.unresolved} intended without one\n"
        f"      root {verdict.root}" + "".join(f"\nlost: {loss.sentence}" for loss in verdict.losses)
    )


def _print(answer: str | dict[str, Any]) -> None:
    print(answer if isinstance(answer, str) else json.dumps(answer, indent=2, ensure_ascii=True))


def _refuse(message: str) -> int:
    print(f"cannot verify: {message}", file=sys.stderr)
    return BAD_INPUT


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m proofs", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("verify", help="check an export of the log")
    check.add_argument("export", type=Path, metavar="EXPORT", help="JSON lines, as `GET /v1/audit/export` gives them")
    check.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="checkpoints kept from elsewhere (JSON or JSON lines): shows cutting and rewriting; may be repeated",
    )
    check.set_defaults(run=_verify)
    receipt = commands.add_parser("receipt", help="check one receipt")
    receipt.add_argument("receipt", type=Path, metavar="FILE", help="the receipt, as a call's answer carries it")
    receipt.add_argument("--payload", type=Path, metavar="FILE", help="the entry's payload, to open its commitment")
    receipt.set_defaults(run=_receipt)
    certificate = commands.add_parser("certificate", help="check signature and digests of one certificate")
    certificate.add_argument("certificate", type=Path, metavar="FILE", help="the signed certificate (JSON)")
    certificate.add_argument("--bundle", type=Path, metavar="FILE", help="the bundle that it is for")
    certificate.set_defaults(run=_certificate)
    for command in (check, receipt, certificate):
        command.add_argument("--keys", type=Path, required=True, metavar="KEYS", help="trusted public keys (JSON)")
        command.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
