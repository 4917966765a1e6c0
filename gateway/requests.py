"""What a door hands to the pipeline: one request, of which nothing is believed yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway.admission import Envelope
from gateway.errors import BadRequest, Unauthenticated
from gateway.identity import Principal

# RFC 9110 §5.3: these are single-valued; two of them are two opinions on one request.
_SINGLE = (
    "content-type",
    "content-encoding",
    "authorization",
    "idempotency-key",
    "host",
    "content-length",
    "x-correlation-id",
    "prefer",
)


@dataclass(slots=True, kw_only=True)
class Incoming:
    """One request. Headers by lower-case name; the body is read only when asked for."""

    headers: Mapping[str, str]
    body: Callable[[], Awaitable[bytes]]
    principal: Principal | None = None
    """Set once `identify` has passed, so that a refusal is recorded on the right tenant's chain."""
    tool: str = ""
    """Set as soon as a tool that there is was named: what the call is refused for from then on counts against it."""

    def authorization(self) -> bytes | None:
        """The Authorization header as bytes."""
        value = self.headers.get("authorization")
        return None if value is None else value.encode("latin-1")

    def envelope(self) -> Envelope:
        """What came beside the body."""
        preferences = (
            {each.strip().lower() for each in self.headers["prefer"].split(",")} if "prefer" in self.headers else ()
        )
        return Envelope(
            key=self.headers.get("idempotency-key"),
            correlation=self.headers.get("x-correlation-id"),
            is_dry_run="dry-run" in preferences,
        )


def single_headers(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """
    Headers of an ASGI scope as text, the last of a repeated one winning only where repetition is harmless.

    Raises `Unauthenticated` for two Authorization headers and `BadRequest` for any other repeated single header.
    """
    headers: dict[str, str] = {}
    for name, value in pairs:
        key = name.decode("latin-1").lower()
        if key in headers and key in _SINGLE:
            if key == "authorization":
                raise Unauthenticated("token_malformed", "more than one Authorization header")
            raise BadRequest("header_repeated", "a single-valued header came twice")
        headers[key] = value.decode("latin-1")
    return headers
