"""A client of the gateway as an agent, a requester or an approver would write one: httpx2, JSON, and a signature."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from deploy.demo.cast import Person
from proofs import approvals
from proofs.approvals import Statement, Verdict

TIMEOUT_SECONDS = 40


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, document, headers."""

    status: int
    document: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def reason(self) -> str:
        """The stable reason of a fault; empty otherwise."""
        return str(self.document.get("reason", ""))

    @property
    def call(self) -> str:
        """The call id."""
        return str(self.document["call"])


class Client:
    """Speaks to one gateway."""

    def __init__(self, url: str, environment: str = "dev") -> None:
        self.url = url
        self._http = httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False)
        self._environment = environment

    def request(
        self, method: str, path: str, token: str | None, *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; `body` as JSON, or bytes as they are."""
        given: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {}
        if body is not None and not given:
            given = {"json": body}
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        response = self._http.request(method, path, headers=sent, **given)
        document = response.json() if "json" in response.headers.get("content-type", "") else {}
        return Answer(response.status_code, document if isinstance(document, dict) else {}, response.headers)

    def call(
        self,
        token: str,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        reason: str = "",
        key: str = "",
        approvals: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> Answer:
        """Ask for one call, under a fresh key where none is given."""
        body: dict[str, Any] = {"tool": tool, "arguments": dict(arguments), **members}
        if reason:
            body["reason_code"] = reason
        if approvals:
            body["approvals"] = list(approvals)
        return self.request(
            "POST",
            "/v1/calls",
            token,
            body=body,
            headers={"Idempotency-Key": key or secrets.token_hex(16), **(headers or {})},
        )

    def approve(self, person: Person, parked: Answer, *, verdict: str = "approve", reason: str = "") -> Answer:
        """Sign the statement of a parked call as `person`, and hand it in."""
        where = "approvals" if verdict == "approve" else "rejections"
        return self.request(
            "POST",
            f"/v1/calls/{parked.call}/{where}",
            person.token,
            body=signed(person, parked.document["statement"], self._environment, verdict=verdict, reason=reason),
        )

    def get(self, path: str, token: str | None = None) -> Answer:
        """A GET."""
        return self.request("GET", path, token)

    def text(self, path: str, token: str | None = None) -> bytes:
        """The raw body of a GET."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self._http.get(path, headers=headers).content

    def governed(
        self,
        requester: Person,
        approvers: Sequence[Person],
        tool: str,
        arguments: Mapping[str, Any],
        reason: str,
        *,
        key: str = "",
    ) -> Answer:
        """A call that needs persons: parked, signed by each of them, presented again."""
        key = key or secrets.token_hex(16)
        parked = self.call(requester.token, tool, arguments, reason=reason, key=key)
        if parked.status != 202:
            return parked
        given = [self.approve(person, parked) for person in approvers]
        ids = [str(each.document.get("approval", "")) for each in given]
        return self.call(requester.token, tool, arguments, reason=reason, key=key, approvals=ids)


def signed(
    person: Person, given: Mapping[str, Any], environment: str, *, verdict: str = "approve", reason: str = ""
) -> dict[str, Any]:
    """`{statement, signature}`: the gateway's part of the statement with the approver's own."""
    statement = Statement(
        call=given["call"],
        tool=given["tool"],
        bundle=given["bundle"],
        requester=given["requester"],
        not_after=given["not_after"],
        approver=f"person/{person.id}",
        key=person.key.key_id,
        verdict=Verdict(verdict),
        shown="",
        reason=reason,
        nonce=secrets.token_urlsafe(16),
    )
    signature = approvals.sign(statement, key=person.key, environment=environment, tenant=person.tenant)
    return {"statement": statement.document(), "signature": signature}
