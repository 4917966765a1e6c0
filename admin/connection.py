"""One exchange with the gateway: a request in, a status and a document out. Nothing here decides what an answer means.

A token goes over TLS or over loopback, nowhere else. No redirect is followed and no request is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from admin.errors import CommandError, Exit
from admin.identities import Session

TIMEOUT_SECONDS = 45  # Longer than the longest `?wait=` that the gateway grants.
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came back."""

    status: int
    document: Any
    is_replayed: bool
    """The gateway served an earlier answer; nothing ran again."""


def ask(
    session: Session,
    method: str,
    path: str,
    *,
    body: Mapping[str, Any] | bytes | None = None,
    headers: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Answered:
    """Send one request. Raises `CommandError` when no answer came, or none that can be read."""
    content = json.dumps(body, ensure_ascii=False).encode() if isinstance(body, Mapping) else body
    sent = {**_credentials(session), **(headers or {})}
    if content is not None:
        sent["Content-Type"] = "application/json"
    with _client(session) as client, _reachable(session):
        response = client.request(method, path, content=content, headers=sent, params=dict(parameters or {}))
    try:
        document = json.loads(response.content) if response.content else {}
    except ValueError as error:
        raise CommandError(
            f"the answer of `{session.url}` is not JSON (status {response.status_code})",
            "is this the gateway? `lockgate doctor` checks",
            code=Exit.UNKNOWN,
        ) from error
    return Answered(
        status=response.status_code,
        document=document,
        is_replayed=response.headers.get("Idempotency-Replayed") == "true",
    )


def stream(session: Session, path: str) -> Iterator[bytes]:
    """The body of a GET, piece by piece. Raises `CommandError` for any status but 200."""
    with (
        _client(session) as client,
        _reachable(session),
        client.stream("GET", path, headers=_credentials(session)) as response,
    ):
        if response.status_code != 200:
            reason = _reason(response.read())
            raise CommandError(
                f"`{path}` answered {response.status_code} {reason}".rstrip(),
                "an export needs the role auditor; --as role:auditor in development",
                code=Exit.NO,
            )
        yield from response.iter_bytes()


@contextmanager
def _reachable(session: Session) -> Iterator[None]:
    try:
        yield
    except httpx2.ConnectError as error:
        raise CommandError(
            f"nothing answers at `{session.url}`", "start the gateway with `make dev`, or say --url", code=Exit.UNKNOWN
        ) from error
    except httpx2.TimeoutException as error:
        raise CommandError(
            f"no answer from `{session.url}` within {TIMEOUT_SECONDS} s",
            "a call may have run: send it again with the same --key, which never runs it twice",
            code=Exit.IN_DOUBT,
        ) from error
    except httpx2.HTTPError as error:
        raise CommandError(
            f"the connection to `{session.url}` broke ({type(error).__name__})",
            "a call may have run: send it again with the same --key, which never runs it twice",
            code=Exit.IN_DOUBT,
        ) from error


def _client(session: Session) -> httpx2.Client:
    parts = urlsplit(session.url)
    is_loopback = parts.hostname in LOOPBACK
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CommandError(f"`{session.url}` is no gateway's address", "say --url https://host[:port]")
    if parts.scheme == "http" and not is_loopback and session.identity is not None:
        raise CommandError("a token must not travel in the clear", "say --url https://…")
    # On loopback no proxy of the environment has any business in between.
    return httpx2.Client(base_url=session.url, timeout=TIMEOUT_SECONDS, trust_env=not is_loopback)


def _credentials(session: Session) -> dict[str, str]:
    return {} if session.identity is None else {"Authorization": f"Bearer {session.identity.token}"}


def _reason(body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    return str(document.get("reason", "")) if isinstance(document, dict) else ""
