"""The scenes in which somebody asks for something. Each shows what was answered; a wrong answer ends the story."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from deploy.demo.client import Answer
from deploy.demo.stage import Stage, require, require_answer

FLAG = "new_checkout"
DENIED_USER = "usr_platform"  # The base bundle's deny list names it.
ORDER, SMALL_ORDER, CRASH_ORDER = "ord_1002", "ord_1008", "ord_1001"
RECONCILED_SECONDS = 30  # Deadline and grace of the tool are five seconds; the sweeper looks twice a second.


def read(stage: Stage) -> None:
    """An agent reads an order: the row is shown, people in it as tokens."""
    stage.telling.scene("A read")
    answer = require_answer(stage.call(stage.agent(0), "get_order", {"order_id": ORDER}), 200)
    result, row = answer.document["result"], stage.row("orders", id=ORDER)
    require("what was paid, as read and in the business", result["paid_cents"], row["paid_cents"])
    require("the address is hidden from agents", result["shipping_address"] == row["ship_to"], False)
    paid, address = result["paid_cents"], result["shipping_address"]
    stage.telling.answered(answer, f"paid {paid} cents; the address is shown to agents as {address}")


def undo(stage: Stage) -> None:
    """A reversible write runs at once, and its undo is a call of its own."""
    stage.telling.scene("A reversible write, and its undo")
    agent, before = stage.agent(2), _flag(stage)
    states = [("before", *before)]
    wanted = {"flag_key": FLAG, "value": True, "rollout_percent": before[1] + 15}
    written = require_answer(stage.call(agent, "toggle_feature_flag", wanted, "planned_rollout"), 200)
    stage.telling.answered(written, f"permitted by {_rules(written)}; receipt of entry {_entry(written)}")
    states.append(("after the write", *_flag(stage)))
    require("the flag after the write", states[-1][1:], (True, wanted["rollout_percent"]))

    stage.telling.asked(agent.id, "undo", {"call": written.call})
    path, headers = f"/v1/calls/{written.call}/undo", {"Idempotency-Key": secrets.token_hex(16)}
    undone = stage.noted(stage.client.request("POST", path, agent.token, body={}, headers=headers))
    stage.telling.answered(require_answer(undone, 200), f"a call of its own; receipt of entry {_entry(undone)}")
    states.append(("after the undo", *_flag(stage)))
    require("the flag after the undo", states[-1][1:], before)
    stage.telling.table((f"row {FLAG} of the business", "value", "rollout_percent"), states)


def refusal(stage: Stage) -> None:
    """What a rule forbids is refused with the rule, and with what would satisfy it."""
    stage.telling.scene("A refusal, with the rule and its hint")
    expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    arguments = {"target": DENIED_USER, "friction_type": "captcha", "expires_at": expires}
    answer = stage.call(stage.agent(2), "apply_friction", arguments, "spam_suspected")
    stage.telling.answered(require_answer(answer, 403, "policy_denied"), f"entry {answer.document['entry']}")
    rules = answer.document["rules"]
    require("the rules that refused", [rule["id"] for rule in rules], ["denied-resource"])
    stage.telling.table(("rule", "engine", "what it wants"), [(r["id"], r["engine"], r["hint"]) for r in rules])
    require("effects", stage.effects_of(answer.call), 0)


def invariant(stage: Stage) -> None:
    """What an invariant rules out is refused with its numbers."""
    stage.telling.scene("An invariant violation, with its numbers")
    row = stage.row("orders", id=SMALL_ORDER)
    left = row["paid_cents"] - row["refunded_cents"]
    arguments = {"order_id": SMALL_ORDER, "amount_cents": left + 1}
    answer = stage.call(stage.agent(3), "issue_refund", arguments, "damaged_item")
    stage.telling.answered(require_answer(answer, 403, "invariant_violated"), f"entry {answer.document['entry']}")
    failed = [check for check in answer.document["invariant_checks"] if check["status"] != "pass"]
    numbers = [(check["id"], check["value"], check["limit"]) for check in failed]
    require("the checks that failed", numbers, [("refund-cap", left + 1, left)])
    columns = ("invariant", "value", "limit", "which says")
    stage.telling.table(columns, [(c["id"], c["value"], c["limit"], c["sentence"]) for c in failed])
    require("effects", stage.effects_of(answer.call), 0)


def approval(stage: Stage) -> None:
    """A refund waits for finance, is signed, is presented again, runs once; its receipt holds offline."""
    stage.telling.scene("A refund that waits until finance has signed")
    agent, key = stage.agent(2), secrets.token_hex(16)
    arguments = {"order_id": ORDER, "amount_cents": 20_000}
    before = stage.row("orders", id=ORDER)["refunded_cents"]
    parked = require_answer(stage.call(agent, "issue_refund", arguments, "damaged_item", key=key), 202)
    needs = parked.document["needs"]
    require("who has to approve", needs, [{"role": "finance", "persons": 1}])
    stage.telling.answered(parked, f"needs {needs[0]['persons']} person of {needs[0]['role']}; {_rules(parked)}")
    given = _sign(stage, "finance", parked)
    require("effects before it is presented again", stage.effects_of(parked.call), 0)

    stage.telling.say(f"{agent.id}: the same call and key, with the approval")
    first = stage.client.call(agent.token, "issue_refund", arguments, reason="damaged_item", key=key, approvals=[given])
    stage.noted(require_answer(first, 200))
    refunded = stage.row("orders", id=ORDER)["refunded_cents"]
    require("refunded by the business", refunded, before + 20_000)
    stage.telling.answered(first, f"the business has refunded {refunded} cents of {ORDER}, {before} before")

    checked = stage.verify("receipt", stage.write("receipt.json", first.document["receipt"]))
    require(f"the receipt: {checked.document}", checked.status, 0)
    entry = checked.document["entry"]
    stage.telling.say(f"  good: entry {entry['seq']}, {entry['kind']} {entry['state']}, is in the signed log")

    stage.telling.scene("The same key again: the first answer, no second effect")
    again = stage.call(agent, "issue_refund", arguments, "damaged_item", key=key, approvals=[given])
    replayed = require_answer(again, 200).headers.get("Idempotency-Replayed")
    require("the answer is marked as replayed", replayed, "true")
    require("the answer is the first one", again.document, first.document)
    require("effects in the business's journal", stage.effects_of(first.call), 1)
    counted = stage.effects_of(first.call)
    stage.telling.answered(again, f"Idempotency-Replayed: {replayed}; effects in the business's journal: {counted}")


def changed_amount(stage: Stage) -> None:
    """A signature is for exactly one call: another amount is another call."""
    stage.telling.scene("An approval is refused for a changed amount")
    agent, key = stage.agent(2), secrets.token_hex(16)
    arguments = {"order_id": ORDER, "amount_cents": 9_000}
    parked = require_answer(stage.call(agent, "issue_refund", arguments, "late_delivery", key=key), 202)
    stage.telling.answered(parked)
    given = _sign(stage, "finance", parked)
    changed = {**arguments, "amount_cents": 9_100}
    answer = stage.call(agent, "issue_refund", changed, "late_delivery", approvals=[given])
    stage.telling.answered(require_answer(answer, 403, "approval_mismatch"), f"entry {answer.document['entry']}")
    stage.telling.asked(agent.id, "cancel", {"call": parked.call})
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    path = f"/v1/calls/{parked.call}/cancel"
    cancelled = stage.client.request("POST", path, agent.token, body={}, headers=headers)
    stage.telling.answered(require_answer(cancelled, 200))
    require("effects", stage.effects_of(parked.call) + stage.effects_of(answer.call), 0)


def kill_switch(stage: Stage) -> None:
    """Any operator stops an agent at once; letting it go again takes security and founder."""
    stage.telling.scene("The kill switch")
    agent, key = stage.agent(3), secrets.token_hex(16)
    engaged = {"scope": "agent", "target": agent.id, "reason": "refunds too fast"}
    stage.telling.answered(
        require_answer(stage.call(stage.person("operator"), "engage_kill", engaged, "misbehaviour"), 200)
    )
    arguments = {"order_id": "ord_1006", "amount_cents": 500}
    killed = stage.call(agent, "issue_refund", arguments, "damaged_item", key=key)
    stage.telling.answered(require_answer(killed, 403, "killed"), f"entry {killed.document['entry']}")
    _release(stage, agent.id)
    done = stage.call(agent, "issue_refund", arguments, "damaged_item", key=key)
    stage.telling.answered(require_answer(done, 200), "a refused call burns no key")
    require("effects", stage.effects_of(done.call), 1)


def crash(stage: Stage) -> None:
    """The gateway dies between effect and outcome: the open intent is found, and settled by what the tool says."""
    stage.telling.scene("A crash between intent and outcome")
    agent, key = stage.agent(2), secrets.token_hex(16)
    arguments = {"order_id": CRASH_ORDER, "amount_cents": 1_250}
    stage.gateway.stop()
    stage.open(crash="execute:after")
    stage.telling.say("the gateway runs with LOCKGATE_TEST_CRASH=execute:after")
    stage.telling.asked(agent.id, "issue_refund", arguments)
    try:
        answer: Answer | None = stage.client.call(agent.token, "issue_refund", arguments, reason="wrong_item", key=key)
    except httpx2.TransportError as error:
        answer = None
        stage.telling.say(f"  -> no answer ({type(error).__name__})", style="yellow")
    require("an answer of a gateway that is killed", answer, None)
    require("the gateway died", stage.gateway.died(), True)
    stage.telling.say(f"the gateway is gone, signal {-stage.gateway.process.returncode}; it is started again")

    stage.open()
    reader = stage.person("auditor").token
    found = _calls(stage, "executing") + _calls(stage, "in_doubt") or _calls(stage, "executed")[:1]
    call = str(found[0]["call"])
    stage.telling.say(f"{call[:13]}… is {found[0]['status']}; effects so far: {stage.effects_of(call)}")
    told: Mapping[str, Any] = {}
    for _ in range(RECONCILED_SECONDS):
        told = require_answer(stage.client.get(f"/v1/calls/{call}?wait=1", reader), 200).document
        if told["status"] not in ("executing", "in_doubt"):
            break
    require("what the sweeper found out", told["status"], "executed")
    entries = ", ".join(f"{entry['seq']} {entry['kind']}" for entry in told["entries"])
    stage.telling.say(f"the sweeper asked the business and settled it: {told['status']} (entries {entries})")
    again = stage.call(agent, "issue_refund", arguments, "wrong_item", key=key)
    require("the call that was reconciled", require_answer(again, 200).call, call)
    require("effects in the business's journal", stage.effects_of(call), 1)
    counted = stage.effects_of(call)
    stage.telling.answered(again, f"same key, first answer; effects in the business's journal: {counted}")


def _flag(stage: Stage) -> tuple[bool, int]:
    row = stage.row("flags", id=FLAG)
    return row["value"], row["rollout_percent"]


def _rules(answer: Answer) -> str:
    rules = answer.document.get("rules") or answer.document["decision"]["rules"]
    return ", ".join(rule["id"] for rule in rules)


def _entry(answer: Answer) -> int:
    return int(answer.document["receipt"]["entry"]["seq"])


def _sign(stage: Stage, role: str, parked: Answer) -> str:
    """One person of the role signs; what comes back is the approval id."""
    person = stage.person(role)
    given = require_answer(stage.client.approve(person, parked), 201)
    approval = str(given.document["approval"])
    stage.telling.say(f"{person.id} signs the statement of this call with {person.key.key_id}")
    stage.telling.answered(given, approval)
    return approval


def _release(stage: Stage, agent: str) -> None:
    asking, officers = stage.person("security"), (stage.person("security", 2), stage.person("founder"))
    names = " and ".join(person.id for person in officers)
    stage.telling.say(f"{asking.id}: release_kill scope=agent target={agent}, signed by {names}")
    arguments = {"scope": "agent", "target": agent}
    released = stage.client.governed(asking, officers, "release_kill", arguments, "false_alarm")
    stage.noted(released)
    stage.telling.answered(require_answer(released, 200))


def _calls(stage: Stage, state: str) -> list[dict[str, Any]]:
    found = require_answer(stage.client.get(f"/v1/calls?state={state}", stage.person("auditor").token), 200)
    calls: list[dict[str, Any]] = found.document["calls"]
    return calls
