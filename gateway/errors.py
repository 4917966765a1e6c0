"""Every way in which a call ends without an effect of its own, as values with a stable `reason`.

Fault                       status  what the client may conclude
├─ Unauthenticated          401     nothing was read
├─ RateExceeded             429     come back after `retry_after` seconds
├─ BadRequest               400-422 the bytes, the media type, the contract or the key do not fit
├─ NotFound                 404     unknown, or another tenant's: the two cannot be told apart
├─ Conflict                 409     in flight, in doubt, closed, used, stale
├─ Denied                   403     refused, with rules, checks and the entry that records it
├─ Unavailable              503     nothing happened; something needed cannot answer
│  └─ NotDone               503     the same, after the intent: nothing reached the tool
└─ OutcomeUnknown           504     the tool may have acted: ask by call id

`docs/errors.md` has a paragraph per reason. No message ever holds a value that the client sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Fault(Exception):
    """An answer other than success. `members` are added to the problem document (RFC 9457 §3.2)."""

    status = 500
    title = "the gateway could not answer"

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        status: int | None = None,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.members = dict(members or {})
        self.headers = dict(headers or {})
        if status is not None:
            self.status = status


class Unauthenticated(Fault):
    """No token, or none that a configured issuer signed for us."""

    status = 401
    title = "a valid bearer token is needed"

    def __init__(self, reason: str, detail: str = "") -> None:
        # RFC 6750 §3: the scheme, and the error code only when a token was presented.
        challenge = 'Bearer realm="lockgate"' + ("" if reason == "token_missing" else ', error="invalid_token"')
        super().__init__(reason, detail, headers={"WWW-Authenticate": challenge})


class RateExceeded(Fault):
    """More requests than the tool or the principal is allowed."""

    status = 429
    title = "too many requests"

    def __init__(self, reason: str, retry_after_seconds: int) -> None:
        super().__init__(reason, headers={"Retry-After": str(max(1, retry_after_seconds))})


class BadRequest(Fault):
    """The request cannot be read as a call: 400, 408, 413, 415, 421, 422, 431."""

    status = 400
    title = "the request does not fit"


class NotFound(Fault):
    """Unknown, or another tenant's."""

    status = 404
    title = "not found"


class Conflict(Fault):
    """The state of the call, key, approval or revision does not allow this."""

    status = 409
    title = "conflict with the recorded state"


class Denied(Fault):
    """A recorded refusal."""

    status = 403
    title = "refused"


class Unavailable(Fault):
    """Something the gateway needs cannot answer. Nothing happened."""

    status = 503
    title = "not available"

    def __init__(
        self, reason: str, detail: str = "", *, retry_after_seconds: int = 1, members: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(reason, detail, members=members, headers={"Retry-After": str(retry_after_seconds)})


class NotDone(Unavailable):
    """Provably no byte reached the tool; recorded so, and the key may try again with a fresh decision."""

    def __init__(self, reason: str, call: str, *, entry: int) -> None:
        super().__init__(
            reason,
            "nothing reached the tool; the key may be tried again",
            members={"call": call, "entry": entry},
        )


class OutcomeUnknown(Fault):
    """The tool was called and gave no definite answer."""

    status = 504
    title = "outcome unknown"

    def __init__(self, call: str, detail: str = "") -> None:
        super().__init__(
            "in_doubt", detail or "ask GET /v1/calls/{id}; do not repeat under a new key", members={"call": call}
        )


class Misconfigured(Exception):
    """The gateway must not start like this; the message says what to set."""
