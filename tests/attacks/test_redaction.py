"""Personal data and secrets: whoever need not see them meets a token, and no log, entry or metric holds them raw."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from deploy.demo.client import Answer
from deploy.demo.world import ROOT
from gateway import app
from gateway.redaction import Redactor
from gateway.settings import Settings
from gateway.storage.signers import Signers
from gateway.tokens import Resolved
from proofs.keys import PrivateKey
from tests.world.stories import Story, eventually

PERSONAL = ("display_name", "email", "phone")
COLUMNS = {"display_name": "name", "email": "email", "phone": "phone"}
CANARIES = {
    "email": "canary.person@mail.example",
    "phone": "+49 30 901820 77",
    "card": "4111 1111 1111 1111",
    "token": "sk_live_51HxCanaryCanary99",
    "password": "password: hunter2canary",
}


def look(story: Story, token: str, user: str) -> Answer:
    """A look at a user's account."""
    answer = story.client.call(token, "get_user_360", {"user_id": user})
    assert answer.status == 200, answer.document
    return answer


def user(story: Story, number: int = 0) -> dict[str, Any]:
    """A user as the business knows them."""
    return story.state("users")[number]


def everything_kept(story: Story) -> str:
    """The gateway's log, its figures, and the audit exports of all tenants, as one text."""
    log = story.world.gateways[0].log.read_text(encoding="utf-8")
    exports = [
        story.client.text("/v1/audit/export", story.person("auditor", 1, tenant).token).decode()
        for tenant in ("acme", "globex", "system")
    ]
    return "\n".join([log, story.client.text("/metrics").decode(), *exports])


@pytest.mark.parametrize("role", ["finance", "growth", "commerce", "sre", "security", "founder", "auditor"])
def test_a_role_that_need_not_know_sees_tokens(story: Story, role: str) -> None:
    """
    H01: name, e-mail and phone of a user are tokens for every role but operator and safety.
    """
    known = user(story)

    result = look(story, story.person(role).token, known["id"]).document["result"]

    assert result["user_id"] == known["id"]
    assert all(result[name].startswith("tok_") for name in PERSONAL)
    assert all(str(known[COLUMNS[name]]) not in str(result) for name in PERSONAL)


def test_an_agent_sees_no_personal_data(story: Story) -> None:
    """
    H01: for an agent of any level personal data are tokens, what is internal is not.
    """
    known = user(story)

    results = [
        look(story, story.world.cast.agent("acme", level).token, known["id"]).document["result"] for level in range(4)
    ]

    assert all(result[name].startswith("tok_") for result in results for name in PERSONAL)
    assert all(result["state"] in {"active", "banned", "closed"} for result in results)


@pytest.mark.parametrize("role", ["operator", "safety"])
def test_a_role_that_needs_to_know_sees_it(story: Story, role: str) -> None:
    """
    H01: operator and safety see the person; a secret is shown to nobody.
    """
    known = user(story)

    result = look(story, story.person(role).token, known["id"]).document["result"]

    assert result["email"] == known["email"]
    assert result["payment_token"] != known["payment_token"]


def test_tokens_match_within_a_tenant_and_never_across(story: Story) -> None:
    """
    H04: one value has one token in a tenant, another in the next, and none is the value's plain digest.
    """
    first, second = (user(story, number) for number in (0, 1))
    here, there = (story.world.cast.agent(tenant, 1).token for tenant in ("acme", "globex"))
    theirs = {row["name"]: row for row in story.state("users", "globex")}
    ours, twin = next((row, theirs[row["name"]]) for row in story.state("users") if row["name"] in theirs)

    seen = [look(story, here, each["id"]).document["result"]["email"] for each in (first, first, second)]
    names = [
        look(story, *each).document["result"]["display_name"] for each in ((here, ours["id"]), (there, twin["id"]))
    ]

    assert seen[0] == seen[1] != seen[2]
    assert names[0] != names[1]
    digest = hashlib.sha256(json.dumps(ours["name"]).encode()).hexdigest()
    assert {names[0].removeprefix("tok_"), names[1].removeprefix("tok_")} & {digest[:16]} == set()


def test_a_value_that_looks_like_a_token_is_none(story: Story) -> None:
    """
    H04: a token of the gateway, sent as if it were the value, finds nothing, and in free text it stays what it is.
    """
    known = user(story)
    token = look(story, story.world.cast.agent("acme", 1).token, known["id"]).document["result"]["email"]
    parked = story.parked_refund()

    found = story.client.call(story.person("operator").token, "get_user_360", {"user_id": token})
    remark = story.client.request(
        "POST", f"/v1/calls/{parked.call}/feedback", parked.token, body={"text": f"is {token} the customer?"}
    )

    assert found.status in {404, 422}
    assert remark.status == 201
    assert known["email"] not in str(found.document) + str(remark.document)


def test_reading_leaves_no_personal_data_behind(story: Story) -> None:
    """
    H01: after everybody looked at a user, neither log nor figures nor export hold name, e-mail, phone or secret.
    """
    known = user(story, 7)
    for person in story.world.cast.people:
        if person.tenant == "acme":
            look(story, person.token, known["id"])

    kept = everything_kept(story)

    assert [name for name in ("name", "email", "phone", "payment_token") if str(known[name]) in kept] == []


@pytest.mark.parametrize("canary", CANARIES)
def test_free_text_is_scanned_before_it_is_kept(story: Story, canary: str) -> None:
    """
    H01: personal data and secrets in a reason, a remark or a rejection are in no log, entry or export, nor read back.
    """
    value = CANARIES[canary]
    text = f"the customer said {value} on the line"
    parked = story.parked_refund()
    path = f"/v1/calls/{parked.call}"

    remark = story.client.request("POST", f"{path}/feedback", parked.token, body={"text": text})
    killed = story.client.call(
        story.person("operator").token,
        "engage_kill",
        {"scope": "agent", "target": f"agent-canary-{canary}", "reason": text},
        reason="drill",
    )
    rejected = story.client.approve(story.person("finance", 2), parked.answer, verdict="reject", reason=text)
    told = story.client.get(path, parked.token)

    assert (remark.status, killed.status) == (201, 200)
    assert rejected.status == 422
    assert rejected.reason == "reason_sensitive"
    assert value not in str(told.document)
    assert value not in everything_kept(story)


@pytest.mark.parametrize("canary", CANARIES)
def test_what_is_sent_in_the_wrong_place_is_not_kept_either(story: Story, canary: str) -> None:
    """
    H01: values in keys, headers, paths, unknown members and malformed bodies appear in no answer and no record.
    """
    value = CANARIES[canary]
    token = story.person("finance").token
    order = story.order()

    answers = [
        story.refund(token, value, 1_000),
        story.client.call(token, value, {}),
        story.refund(token, order, 1_000, note=value),
        story.client.call(token, "get_order", {"order_id": order, "email": value}),
        story.client.call(token, "get_order", {"order_id": order}, headers={"X-Correlation-Id": f"{value} {value}"}),
        story.client.request("POST", "/v1/calls", token, body=f'{{"tool": "{value}"'.encode()),
        story.client.get(f"/v1/tools/{value}", token),
        story.client.get(f"/v1/calls/{value}?wait={value}", token),
        story.client.get("/v1/tools", value.replace("+", "")),
    ]

    assert all(400 <= answer.status < 500 for answer in answers), [answer.status for answer in answers]
    assert all(value not in str(answer.document) for answer in answers)
    assert value not in everything_kept(story)


def test_numbers_of_checks_give_no_hidden_fact_away(story: Story) -> None:
    """
    H01: an agent may not see a creator's balance, nor a comparison with it, in a refusal, a dry run or a look back.
    """
    creator = story.state("creators")[0]
    arguments = {"creator_id": creator["id"], "amount_cents": 10_000_000_000}
    agent, finance = story.agent(3).token, story.person("finance").token
    reason = "monthly_payout"

    refused = story.client.call(agent, "release_payout", arguments, reason=reason)
    looked = story.client.get(f"/v1/calls/{refused.call}", agent)
    whole = story.client.get(f"/v1/calls/{refused.call}", finance)

    assert refused.status == 403
    for told in (refused, looked):
        assert {check["id"] for check in told.document["invariant_checks"]} >= {"payout-cap"}
        assert not any({"value", "limit"} & check.keys() for check in told.document["invariant_checks"])
    (cap,) = (check for check in whole.document["invariant_checks"] if check["id"] == "payout-cap")
    assert {"value", "limit"} <= cap.keys()


def test_nothing_of_the_settings_is_shown(story: Story) -> None:
    """
    H06: figures, health and unknown pages name no key, path or address of the database.
    """
    pages = [story.client.text(path).decode() for path in ("/metrics", "/healthz", "/readyz", "/debug", "/v1/keys")]
    secrets = [str(story.world.home), story.world.cast.bundle_key.text, "postgres", "password"]

    assert [secret for secret in secrets for page in pages if secret in page] == []
    assert eventually(lambda: story.client.get("/readyz").status == 200)


def test_the_memory_of_the_gateway_is_dumped_nowhere(story: Story) -> None:
    """
    H06: the process, and every one that it starts, may write no core file: neither now nor by raising its limit.
    """
    limits = Path(f"/proc/{story.world.gateways[0].process.pid}/limits").read_text(encoding="ascii")

    (core,) = [line.split() for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core[4:6] == ["0", "0"]


def test_a_fault_is_logged_without_what_it_was_about() -> None:
    """
    H06: neither the message of a fault, nor what its frames held, nor what a library says of it reaches the log.
    """
    program = """
import asyncio, logging
from gateway import logs
logs.configure("debug")
def fails(value):
    local = value + "-in-a-frame"
    raise ValueError("canary-in-a-message " + local)
try:
    fails("canary")
except ValueError as error:
    logs.log().error("call_failed", call="call_1", error=error, other="canary with a comma, say")
    logging.getLogger("library").exception("canary says a library: %s", error)
async def forgotten():
    asyncio.get_running_loop().create_task(later())
    await asyncio.sleep(0)
async def later():
    fails("canary")
asyncio.run(forgotten())
"""

    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)

    told = ran.stdout + ran.stderr
    assert b"call_failed" in told
    assert b"ValueError" in told
    assert b"canary" not in told


def test_settings_and_keys_say_no_secret_of_themselves(tmp_path: Path) -> None:
    """
    H06: written out, as a traceback or a debugger would, they are names without values.
    """
    secrets = {name: f"canary-{name}" for name in ("database_url", "auditor_url", "migrator_url", "opa_token")}
    given: dict[str, Any] = {"environment": "dev", "data": tmp_path, "issuers": tmp_path, "root_keys": tmp_path}
    key = PrivateKey.generate()

    told = [
        repr(Settings(**given, base_bundle=tmp_path, **secrets)),
        repr(Redactor(b"canary-key" * 4)),
        repr(app._Keys(signers=cast(Signers, None), redaction=b"canary-redaction")),
        repr(Resolved({"to": "canary@mail.example"})),
        repr(key),
    ]

    assert [each for each in told if "canary" in each or key.text in each] == []
