"""The statement that an approver signs: a yes or no to one exact call, by one person, once, until a time.

This module reads and checks the form and the signature. Whether the approver may decide, is not the requester, and
the statement names the call at hand, is for who uses it to compare.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Any

from proofs import canonical, shapes, signatures
from proofs.errors import Misshapen
from proofs.keys import PrivateKey, PublicKey

REASON_LENGTH_MAX = 1000  # Characters. A reason is a sentence or two; it is stored and shown with every approval.

_NONCE = re.compile(r"[A-Za-z0-9_+/=-]{16,128}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_SHOWN = re.compile(r"(?:sha256:[0-9a-f]{64})?")
_REASON = re.compile(rf"(?s).{{0,{REASON_LENGTH_MAX}}}")
_MEMBERS = frozenset(
    {
        "call",
        "tool",
        "bundle",
        "requester",
        "approver",
        "key",
        "verdict",
        "shown",
        "reason",
        "not_after",
        "nonce",
    }
)


@unique
class Verdict(StrEnum):
    """What the approver says to the call."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The eleven members that an approver signs."""

    call: str
    """Commitment to the call digest, under the call's own salt. Any changed argument voids the statement."""
    tool: str
    """Digest of the tool's contract."""
    bundle: str
    """Digest of the policy bundle under which approval was asked for."""
    requester: str
    """`agent/<id>` or `person/<id>`."""
    approver: str
    """`person/<id>`."""
    key: str
    """Id of the key that signs."""
    verdict: Verdict
    shown: str
    """Commitment to what was displayed; empty where nothing was, as on the command line."""
    reason: str
    not_after: str
    """RFC 3339, UTC, whole seconds. Exclusive: presented at this very instant, the approval is already late."""
    nonce: str
    """Makes two statements of one person about one call differ. At least 16 characters of base64."""

    @property
    def not_after_ms(self) -> int:
        """`not_after` in milliseconds since 1970. Exclusive."""
        return _milliseconds(self.not_after)

    def document(self) -> dict[str, Any]:
        """The statement as canonical JSON members."""
        return {name: getattr(self, name) for name in sorted(_MEMBERS)}

    def canonical(self) -> bytes:
        """The statement's canonical bytes."""
        return canonical.encode(self.document())


def parse(document: Any) -> Statement:
    """
    Read a statement of exactly the eleven members. The signature is not checked.

    Raises `Misshapen`, or `OutsideProfile` for a text that has no canonical form.
    """
    members = shapes.members(document, required=_MEMBERS, form="approval statement")
    canonical.check(dict(members))
    verdict = members["verdict"]
    if not isinstance(verdict, str) or verdict not in set(Verdict):
        raise Misshapen("member", "member `verdict`: expected `approve` or `reject`")
    statement = Statement(
        call=shapes.text(members, "call", shapes.DIGEST),
        tool=shapes.text(members, "tool", shapes.DIGEST),
        bundle=shapes.text(members, "bundle", shapes.DIGEST),
        requester=shapes.text(members, "requester", shapes.PRINCIPAL),
        approver=shapes.text(members, "approver", shapes.PERSON),
        key=shapes.text(members, "key", shapes.KEY_ID),
        verdict=Verdict(verdict),
        shown=shapes.text(members, "shown", _SHOWN),
        reason=shapes.text(members, "reason", _REASON),
        not_after=shapes.text(members, "not_after", _TIME),
        nonce=shapes.text(members, "nonce", _NONCE),
    )
    _milliseconds(statement.not_after)
    return statement


def sign(statement: Statement, *, key: PrivateKey, environment: str, tenant: str) -> str:
    """Sign as the approver and return the signature as base64url. The statement must name the key."""
    if statement.key != key.key_id:
        raise ValueError("approval statement: member `key` does not name the signing key")
    return signatures.sign(key, _context(environment, tenant), statement.document())


def verify(statement: Statement, signature: str, public: PublicKey, *, environment: str, tenant: str) -> bool:
    """Say whether `public` is the key that the statement names and signed it for this environment and tenant."""
    return statement.key == public.key_id and signatures.verify(
        public, _context(environment, tenant), statement.document(), signature
    )


def _context(environment: str, tenant: str) -> bytes:
    return signatures.context(signatures.Purpose.APPROVAL, environment, tenant)


def _milliseconds(time: str) -> int:
    try:
        moment = datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise Misshapen("member", "member `not_after`: no such instant") from error
    return int(moment.timestamp()) * 1000
