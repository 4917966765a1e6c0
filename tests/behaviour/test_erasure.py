"""Erasing a subject: what stood beside the log about it is gone, and the log still verifies."""

from __future__ import annotations

import io

from proofs import verify
from proofs.keys import KeyRing
from tests.world.stories import Story, eventually

TOOL = "revoke_push_tokens"
REASON = "user_request"


def payloads_about(story: Story, name: str) -> int:
    """How many lines of the tenant's export name somebody."""
    export = story.client.text("/v1/audit/export", story.person("auditor").token)
    keys = KeyRing.parse(story.client.text("/v1/keys"))
    assert verify.check(io.BytesIO(export), keys).is_good
    return sum(f'"{name}"'.encode() in line for line in export.splitlines() if b'"tool":"erase_subject"' not in line)


def test_an_erased_subject_is_named_by_no_payload_any_more(story: Story) -> None:
    """
    G13: packets, results, refusals and feedback about a user are destroyed with their salts; the chain verifies, and
    the key of the erased call answers that its record is gone, without a second effect.
    """
    operator, agent = story.person("operator"), story.agent(0)
    # Somebody of whom no other test speaks: a call that is still parked keeps its payload.
    user = next(row["id"] for row in reversed(story.state("users")) if not payloads_about(story, row["id"]))
    arguments = {"user_id": user}
    done = story.client.call(operator.token, TOOL, arguments, reason=REASON, key="erased-later")
    refused = story.client.call(agent.token, TOOL, arguments, reason=REASON)
    said = {"text": f"this was {user}"}
    story.client.request("POST", f"/v1/calls/{done.call}/feedback", operator.token, body=said)
    assert eventually(lambda: any(e["kind"] == "CONFIRMED" and e["call"] == done.call for e in story.entries()))
    before = payloads_about(story, user)

    erased = story.govern("erase_subject", {"subject": user}, "subject_request")
    again = story.client.call(operator.token, TOOL, arguments, reason=REASON, key="erased-later")
    kept = story.client.get(f"/v1/calls/{done.call}", operator.token)

    assert (done.status, refused.status) == (200, 403)
    assert before >= 3
    assert erased.document["result"]["payloads_erased"] >= 4
    assert payloads_about(story, user) == 0
    assert (again.status, again.reason) == (409, "record_erased")
    assert kept.document["status"] == "executed"
    assert "result" not in kept.document
    assert kept.document["arguments"] == {}
    assert len(story.effects(done.call)) == 1
