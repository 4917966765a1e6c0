"""Drafts become entries: payloads committed to, the chain linked, the checkpoint signed by the key whose turn it is.

Entry 1 of a chain names its first key. An entry never has an earlier time than the one before it, whatever the clock
says: after a clock that ran ahead was set back, entries carry the same time until the clock has caught up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import encoding
from gateway.ledger import Draft
from gateway.storage.signers import Signers
from proofs import chain, log_keys
from proofs.commitments import SALT_BYTES, commit
from proofs.keys import PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """What makes an entry: the environment, the log's keys, randomness for salts, and an encoder."""

    environment: str
    signers: Signers
    random_bytes: Callable[[int], bytes]
    encode: Callable[[Any], bytes] = encoding.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A chain's head row, read under its lock."""

    head: chain.Head
    signer: str | None
    """Who signs what comes next. None: the release before wrote last."""
    at_ms: int
    """Time of the newest entry, 0 where no row says."""


@dataclass(slots=True, kw_only=True)
class Sealing:
    """One tenant's share of a batch: its drafts, their payloads beside the log, and what the chain made of them."""

    before: chain.Head
    drafts: Sequence[Draft]
    salts: list[bytes | None]
    payloads: list[bytes | None]
    sealed: chain.Sealed
    signer: str
    """Who signs after it: the key that signed it, unless it names another."""


def seal(
    pen: Pen, standing: Standing, drafts: Sequence[Draft], now_ms: int, *, hands_to: PrivateKey | None = None
) -> Sealing:
    """
    Make one tenant's drafts the next entries of its chain. With `hands_to` the last of them is a KEY entry besides.

    Raises `SignerMissing` when another key's turn has come, and this process does not hold it.
    """
    signer = pen.signers.current if standing.signer is None else pen.signers.find(standing.signer)
    if hands_to is not None:
        drafts = [*drafts, _handing_over(pen, standing, len(drafts), signer, hands_to)]
    salts: list[bytes | None] = []
    payloads: list[bytes | None] = []
    members: list[Mapping[str, Any]] = []
    for draft in drafts:
        salt = body = commitment = None
        if draft.payload is not None:
            salt, body = pen.random_bytes(SALT_BYTES), pen.encode(draft.payload)
            commitment = commit("payload", salt, body)
        salts.append(salt)
        payloads.append(body)
        members.append({**draft.members, "tenant": draft.tenant, "kind": draft.kind, "payload": commitment})
    if standing.head.size == 0:
        members[0] = {**members[0], **log_keys.first(signer.public)}
    sealed = chain.seal(
        standing.head,
        members,
        environment=pen.environment,
        at_ms=max(now_ms, standing.at_ms),
        signer=signer,
        encode=pen.encode,
    )
    after = (hands_to or signer).key_id
    return Sealing(before=standing.head, drafts=drafts, salts=salts, payloads=payloads, sealed=sealed, signer=after)


def _handing_over(pen: Pen, standing: Standing, before: int, signer: PrivateKey, key: PrivateKey) -> Draft:
    members = log_keys.follow(
        tenant=standing.head.tenant,
        environment=pen.environment,
        seq=standing.head.size + before + 1,
        before=signer.public,
        key=key,
    )
    return Draft(tenant=standing.head.tenant, kind=log_keys.KIND, members=members)
