"""The scenes of reviewers and auditors: a wrong bundle, the whole log verified offline, a flipped byte."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.demo.reckoning import entries_of
from deploy.demo.stage import LOGS, TENANT, Stage, Unexpected, require, require_answer
from deploy.demo.world import ENVIRONMENT
from policies import bundles
from policies.bundles import Bundle, Manifest

GUARD, INVARIANT = "refund-within-paid", "refund-cap"


def wrong_bundle(stage: Stage) -> None:
    """A bundle that lost a guard is refused with the very call that it would have allowed."""
    stage.telling.scene("A bundle without one of its guards")
    author = stage.person("security")
    bundle = bundles.sign(_without(GUARD), stage.world.cast.bundle_key)
    stage.telling.say(f"{author.id}: uploads revision {bundle.manifest.revision}, well signed, without rule {GUARD}")
    answer = stage.client.request("POST", "/v1/bundles", author.token, body=bundle.raw)
    document = require_answer(answer, 422, "bundle_refused").document
    require("the stage that refused it", document["stage"], "proof")
    stage.telling.answered(answer, f"at the {document['stage']}; entry {document['entry']}")
    found = [each for each in document["findings"] if each["invariant"] == INVARIANT]
    require(f"who could break {INVARIANT}", sorted(each["principal"] for each in found), ["Agent", "Person"])
    finding = next(each for each in found if each["principal"] == "Agent")
    require("the counter-example breaks the invariant", finding["value"] > finding["limit"], True)
    _show(stage, finding)
    force = stage.client.get("/v1/bundles", author.token).document["in_force"]
    require("the revision in force", force["revision"], 1)


def verified_log(stage: Stage) -> None:
    """Every log, exported and verified by a process that knows only public keys."""
    stage.telling.scene("The whole log, verified offline")
    for tenant in LOGS:
        auditor = stage.world.cast.person(tenant, "auditor")
        file = stage.write(f"{tenant}.jsonl", stage.client.text("/v1/audit/export", auditor.token))
        checked = stage.verify("verify", file)
        said = checked.document
        require(f"the log of {tenant}: {said['first']}", checked.status, 0)
        stage.telling.say(
            f"  good: {said['size']} entries, {said['checkpoints']} signed checkpoints, {said['approvals']} approvals,"
            f" {said['effects']} effects, {said['unresolved']} intended without one"
        )


def flipped_byte(stage: Stage) -> None:
    """One bit of one byte in a copy, and the verifier names the entry."""
    stage.telling.scene("One byte flipped in a copy of it")
    export = stage.folder / f"{TENANT}.jsonl"
    refunds = [each for each in entries_of(export) if each["kind"] == "INTENT" and each["tool"] == "issue_refund"]
    raw = bytearray(export.read_bytes())
    at = _amount_at(bytes(raw), refunds[0]["call"])
    before = chr(raw[at])
    raw[at] ^= 1
    stage.telling.say(f"byte {at}: `{before}` becomes `{chr(raw[at])}` in the amount of a refund's intent")
    checked = stage.verify("verify", stage.write("flipped.jsonl", bytes(raw)))
    require("the verifier's exit status", checked.status, 1)
    first = checked.document["first"]
    require("the entry that it names", first["seq"], refunds[0]["seq"])
    stage.telling.say(f"  bad: {first['message']}", style="red")


def _show(stage: Stage, finding: Mapping[str, Any]) -> None:
    call = finding["would_allow"]
    principal, context = call["principal"], call["context"]
    approvals = {role: count for role, count in context["approvals"].items() if count}
    stage.telling.say(f"  {finding['invariant']}: {finding['sentence']}")
    stage.telling.say("  The policy engine itself says that it would have allowed this call:")
    rows = (
        ("principal", f"{principal['type']} {principal['id']} {' '.join(principal['roles'])}".rstrip()),
        ("action", f"{call['action']} {_pairs(context['arguments'])}"),
        *((f"facts of {name}", _pairs(facts)) for name, facts in context["facts"].items()),
        ("approvals", _pairs(approvals) or "none"),
        ("so", f"{finding['value']} against a limit of {finding['limit']}"),
    )
    stage.telling.table((), rows)


def _amount_at(raw: bytes, call: str) -> int:
    """Where the last digit of the amount stands, in the intent of that call."""
    for line in re.finditer(rb"[^\n]+\n", raw):
        if call.encode() in line[0] and b'"kind":"INTENT"' in line[0]:
            found = re.search(rb'"amount_cents":\d*(\d)', line[0])
            if found:
                return line.start() + found.start(1)
    raise Unexpected(f"the export: expected an intent of `{call}` with its amount, got none")


def _without(rule: str) -> Bundle:
    """The base bundle as a next revision, without one rule and the cases that expect it."""
    members = bundles.base()
    statement = re.compile(rf'^@id\("{re.escape(rule)}"\).*?;\n', re.DOTALL | re.MULTILINE)
    text, count = statement.subn("", members["policies"])
    require(f"rules `{rule}` in the base bundle", count, 1)
    cases = [case for case in members["cases"] if rule not in case["expect"].get("rules", ())]
    now = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(
        tenant=TENANT, environment=ENVIRONMENT, revision=2, created_at=now, not_after=now + timedelta(days=30)
    )
    return bundles.compose({**members, "policies": text, "cases": cases}, manifest)


def _pairs(members: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in members.items())
