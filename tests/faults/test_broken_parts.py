"""What if a part of the gateway itself fails: the redactor raises, or engines and checks contradict each other."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from deploy.demo.client import Answer, Client
from tests.world import broken_parts
from tests.world.ground import Ground, ground

CANARY = "Canary Blanket"
LISTING = {"product_id": "prd_1002", "channel": "social"}


@dataclass(frozen=True, slots=True)
class Workshop:
    """A world whose gateway has a part that can be broken."""

    field: Ground
    file: Path

    @contextmanager
    def breaking(self, part: str) -> Iterator[None]:
        """Break a part meanwhile."""
        self.file.write_text(part)
        try:
            yield
        finally:
            self.file.write_text("")


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with ground() as field:
        file = field.world.home / "broken"
        file.write_text("")
        program = ("tests.world.broken_parts", str(file))
        field.current = field.world.gateway(program=program)
        yield Workshop(field, file)


def test_a_text_that_cannot_be_redacted_goes_nowhere(workshop: Workshop) -> None:
    """
    H05: a write whose text the redactor fails on is 503 before anything reaches the tool, and neither log nor entries
    hold the text; under the same key it runs when the redactor works again.
    """
    field, key = workshop.field, secrets.token_hex(16)
    asked = partial(call, field, "publish_listing", {**LISTING, "title": CANARY, "body": CANARY}, "launch", key)

    with workshop.breaking(broken_parts.REDACTOR):
        write = asked(field.client())
        effects, entries = field.oracle.effects(), kept(field)
    again = asked(field.client())

    assert (write.status, write.reason) == (503, "redaction_failed")
    assert effects == {}
    assert again.status == 200
    assert '"redaction_failed"' in entries
    assert CANARY not in entries
    assert CANARY not in field.gateway().log.read_text()


def test_a_result_that_cannot_be_redacted_is_withheld_and_its_outcome_recorded(workshop: Workshop) -> None:
    """
    H05: the tool acted, and its result cannot be redacted: the outcome is durable without it, nobody is shown it, and
    the same key gets it later.
    """
    field, key = workshop.field, secrets.token_hex(16)
    listed = {**LISTING, "product_id": "prd_1003", "title": CANARY, "body": CANARY}
    published = call(field, "publish_listing", listed, "launch", secrets.token_hex(16), field.client())
    asked = partial(call, field, "unpublish_listing", {**LISTING, "product_id": "prd_1003"}, "recall", key)

    with workshop.breaking(broken_parts.REDACTOR):
        withheld = asked(field.client())
        replayed = asked(field.client())
    told = asked(field.client())
    findings = field.reconcile()

    assert published.status == 200
    assert (withheld.status, withheld.reason) == (504, "in_doubt")
    assert (replayed.status, replayed.reason) == (503, "redaction_failed")
    assert told.status == 200
    assert told.document["result"]["title"] == CANARY
    assert findings.wrong == ()
    assert findings.stories[told.call].closings == ["executed"]
    assert CANARY not in field.gateway().log.read_text()


def test_engines_that_allow_what_a_check_calls_violated_are_not_believed(workshop: Workshop) -> None:
    """
    C06: every invariant is violated and the engines allow the call all the same: 403, no effect, an INCIDENT, and the
    bundle decides nothing more. Last, for nothing is decided here afterwards.
    """
    field = workshop.field
    before = field.oracle.effects()
    refund = partial(call, field, "issue_refund", {"order_id": "ord_1003", "amount_cents": 3}, "damaged_item")

    with workshop.breaking(broken_parts.CHECKS):
        refused = refund(secrets.token_hex(16), field.client(), role="finance")
    later = refund(secrets.token_hex(16), field.client(), role="finance")

    assert (refused.status, refused.reason) == (403, "invariant_violated")
    assert (later.status, later.reason) == (503, "policy_expired")
    assert field.oracle.effects() == before
    assert '"INCIDENT"' in kept(field, "system")


def call(
    field: Ground,
    tool: str,
    arguments: Mapping[str, object],
    reason: str,
    key: str,
    client: Client,
    role: str = "operator",
) -> Answer:
    """A call by somebody who may ask for it."""
    return client.call(field.person(role).token, tool, arguments, reason=reason, key=key)


def kept(field: Ground, tenant: str = "acme") -> str:
    """Everything that the log of a tenant holds."""
    return field.client().text("/v1/audit/export", field.person("auditor", tenant=tenant).token).decode()
