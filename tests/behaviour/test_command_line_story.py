"""The command line against a real gateway: a refund from the question to the verified log, and what is around it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from admin.__main__ import app
from admin.errors import Exit, Found
from deploy.demo import dev
from deploy.demo.world import ROOT, Gateway, World
from invariants.__main__ import main as invariants

TENANT = "globex"
REFUNDED, FLAG = "ord_2117", "video_reviews"
REQUESTER = "agent:agent-l2"


@dataclass(frozen=True, slots=True)
class Lockgate:
    """The command, told where `make dev` would have written its file."""

    dev_file: Path
    folder: Path

    def run(self, *arguments: str, who: str = "", code: int = Exit.DONE) -> Mapping[str, Any]:
        """Run a command with `--json`; the one document that it prints."""
        command = [*arguments, "--dev-file", str(self.dev_file), "--tenant", TENANT, "--json"]
        done = CliRunner().invoke(app, [*command, *(("--as", who) if who else ())])
        assert done.exit_code == code, f"{command}: {done.output}"
        document: Mapping[str, Any] = json.loads(done.stdout)
        return document

    def approved(self, call: str, *roles: str) -> list[str]:
        """One approval of each role, as options of the next `call`."""
        given = [self.run("approve", call, who=f"role:{role}") for role in roles]
        return [word for each in given for word in ("--approval", str(each["approval"]))]


@pytest.fixture
def lockgate(world: World, gateway: Gateway, tmp_path: Path) -> Lockgate:
    """The command line of somebody who started `make dev`."""
    file = tmp_path / "dev.json"
    file.write_text(json.dumps(dev.document(world, gateway)))
    return Lockgate(file, tmp_path)


def key() -> list[str]:
    """A key of one's own."""
    return ["--key", secrets.token_hex(8)]


def verify(log: Path, keys: Path, checkpoint: Path) -> Mapping[str, Any]:
    """`lockgate verify`, in a process of its own because it becomes another program."""
    command = [sys.executable, "-P", "-m", "admin", "verify", str(log), "--keys", str(keys)]
    done = subprocess.run(
        [*command, "--checkpoint", str(checkpoint), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    document: Mapping[str, Any] = json.loads(done.stdout)
    return document


def test_a_refund_is_parked_signed_and_executed_once(lockgate: Lockgate, world: World) -> None:
    """
    Exit 4 and who has to sign; after the signature the same call and key runs, and again under that key nothing does.
    """
    asked = ["call", "issue_refund", f"order_id={REFUNDED}", "amount_cents=5100", "--reason", "damaged_item", *key()]

    parked = lockgate.run(*asked, who=REQUESTER, code=Exit.PARKED)
    approval = lockgate.approved(parked["call"], "finance")
    first = lockgate.run(*asked, *approval, who=REQUESTER)
    again = lockgate.run(*asked, *approval, who=REQUESTER)
    told = lockgate.run("explain", parked["call"], who="role:auditor")

    assert parked["needs"] == [{"role": "finance", "persons": 1}]
    assert (first["status"], first["call"]) == ("executed", parked["call"])
    assert again == first
    assert [entry["kind"] for entry in told["entries"]][:4] == ["PARKED", "APPROVED", "INTENT", "OUTCOME"]
    effects = [json.loads(line)["effect_id"] for line in world.business.journal.read_text().splitlines()]
    assert effects.count(parked["call"]) == 1


def test_the_bundle_in_force_is_held_against_a_stricter_folder(lockgate: Lockgate, tmp_path: Path) -> None:
    """
    `active` is the bundle that decides at the gateway, over the gateway's own tools; a guard more shows what it takes.
    """
    folder = Path(shutil.copytree(ROOT / "policies" / "base", tmp_path / "rules"))
    with (folder / "policies.cedar").open("a") as policies:
        policies.write(
            '@id("no-flags-on-production")\n@hint("Flags are toggled in dev.")\n'
            'forbid (principal is Person, action == Action::"toggle_feature_flag", resource)\n'
            'when { context.environment == "prod" };\n'
        )

    same = lockgate.run("bundle", "diff", "active", str(ROOT / "policies" / "base"), who="role:security")
    other = lockgate.run("bundle", "diff", "active", str(folder), who="role:security", code=Found.NO)
    nobody = lockgate.run("bundle", "diff", "active", str(folder), who="role:finance", code=Found.BAD_INPUT)

    assert (same["verdict"], other["verdict"], nobody["reason"]) == ("equivalent", "different", "role_missing")
    (told,) = [each for each in other["results"] if each["verdict"] != "equivalent"]
    assert (told["action"], told["principal"], told["verdict"]) == ("toggle_feature_flag", "Person", "less_permissive")
    (witness,) = told["witnesses"]
    assert (witness["shows"], witness["question"]["context"]["environment"]) == ("newly_refused", "prod")


def test_a_parked_call_is_rejected_with_words_or_withdrawn(lockgate: Lockgate) -> None:
    """
    The requester reads why; a call that was rejected or cancelled is closed for good.
    """
    asked = ["call", "issue_refund", f"order_id={REFUNDED}", "amount_cents=5200", "--reason", "damaged_item"]
    rejected, cancelled = (lockgate.run(*asked, *key(), who=REQUESTER, code=Exit.PARKED)["call"] for _ in range(2))

    lockgate.run("reject", rejected, "--reason", "it is not damaged", who="role:finance")
    lockgate.run("cancel", cancelled, who=REQUESTER)

    told = lockgate.run("explain", rejected, who=REQUESTER)
    assert (told["status"], told["feedback"]) == ("rejected", "it is not damaged")
    assert lockgate.run("explain", cancelled, who=REQUESTER)["status"] == "cancelled"
    lockgate.run("approve", rejected, who="role:finance", code=Exit.NO)


def test_calls_are_sent_seen_and_approved_together(lockgate: Lockgate) -> None:
    """
    A file of calls waits as one group; both are approved by one command, and the same file with approvals runs them.
    """
    arguments = [{"order_id": REFUNDED, "amount_cents": cents} for cents in (5_300, 5_301)]
    keys = [secrets.token_hex(8) for _ in arguments]
    calls = [
        {"key": key, "tool": "issue_refund", "arguments": each, "reason_code": "damaged_item"}
        for key, each in zip(keys, arguments, strict=True)
    ]
    file = lockgate.folder / "calls.json"
    file.write_text(json.dumps([*calls, {"tool": "no_such_tool", "arguments": {}}]))

    mixed = lockgate.run("batch", str(file), who=REQUESTER, code=Exit.NO)["answers"]
    parked = [each["body"]["call"] for each in mixed[:2]]
    groups = lockgate.run("waiting", who="role:finance")["groups"]
    given = lockgate.run("approve", *parked, who="role:finance")["answers"]
    approved = [{**call, "approvals": [each["body"]["approval"]]} for call, each in zip(calls, given, strict=True)]
    file.write_text(json.dumps(approved))
    done = lockgate.run("batch", str(file), who=REQUESTER)["answers"]

    assert [each["status"] for each in mixed] == [202, 202, 404]
    assert ("agent/agent-l2", "issue_refund") in [(each["principal"], each["tool"]) for each in groups]
    assert [each["status"] for each in given] == [201, 201]
    assert [(each["key"], each["body"]["status"]) for each in done] == [(key, "executed") for key in keys]
    lockgate.run("approve", *parked, who="role:finance", code=Exit.NO)


def test_a_write_is_tried_dry_made_and_undone(lockgate: Lockgate) -> None:
    """
    A dry run changes nothing; `undo` gives back what was there before, and twice is once.
    """
    asked = ["call", "toggle_feature_flag", f"flag_key={FLAG}", "value=false", "rollout_percent=5"]

    dry = lockgate.run(*asked, "--dry-run", who=REQUESTER)
    done = lockgate.run(*asked, who=REQUESTER)
    undone = lockgate.run("undo", done["call"], who=REQUESTER)
    again = lockgate.run("undo", done["call"], who=REQUESTER)

    assert dry["verdict"] == "permit"
    assert undone["result"] != done["result"]
    assert again["call"] == undone["call"]


def test_a_refusal_is_explained(lockgate: Lockgate) -> None:
    """
    `explain` shows the failed invariant with its numbers, also long after the refusal, and who could ask for how much.
    """
    asked = ["call", "issue_refund", f"order_id={REFUNDED}", "amount_cents=4000000"]

    refused = lockgate.run(*asked, who="role:founder", code=Exit.NO)
    told = lockgate.run("explain", refused["call"], who="role:auditor", code=Found.NO)

    failed = {check["id"]: check for check in told["invariant_checks"] if check["status"] == "fail"}
    assert failed["refund-cap"]["value"] == 4_000_000
    assert failed["refund-cap"]["limit"] < 4_000_000
    assert told["explanation"]["could_ask"] == ["finance"]


def test_a_role_signs_by_somebody_who_did_not_ask(lockgate: Lockgate) -> None:
    """
    Where `--as role:security` asked, `approve --as role:security` is another person of that role.
    """
    target = f"agent-{secrets.token_hex(4)}"
    lockgate.run("kill", "engage", "agent", target, "--because", "a drill", who="role:operator")
    asked = ["kill", "release", "agent", target, *key()]

    parked = lockgate.run(*asked, who="role:security", code=Exit.PARKED)
    approvals = lockgate.approved(parked["call"], "security", "founder")
    released = lockgate.run(*asked, *approvals, who="role:security")

    assert released["status"] == "executed"
    told = lockgate.run("explain", parked["call"], who="role:auditor")
    assert [each["person"] for each in told["approvals"]] == ["per_security_2", "per_founder_1"]


def test_a_bundle_is_signed_published_and_activated(lockgate: Lockgate, world: World) -> None:
    """
    The base rules as the next revision: signed here, proved there, in force after two governed calls.
    """
    revision = lockgate.run("bundle", "list", who="role:security")["in_force"]["revision"] + 1
    file = str(lockgate.folder / "bundle.json")
    signed = ["bundle", "sign", str(ROOT / "policies" / "base"), "--revision", str(revision), "--out", file]
    digest = lockgate.run(*signed, who="role:security")["digest"]

    for asked in (["bundle", "publish", file, *key()], ["bundle", "activate", digest, *key()]):
        parked = lockgate.run(*asked, who="role:security", code=Exit.PARKED)
        lockgate.run(*asked, *lockgate.approved(parked["call"], "security", "founder"), who="role:security")

    assert lockgate.run("bundle", "list", who="role:security")["in_force"]["bundle"] == digest


def test_an_auditor_fetches_and_verifies_the_log(lockgate: Lockgate) -> None:
    """
    Export, keys and checkpoint come from the gateway; what verifies them is another process without it.
    """
    log, keys, checkpoint = (lockgate.folder / name for name in ("log.jsonl", "keys.json", "checkpoint.json"))
    at = ["--dev-file", str(lockgate.dev_file), "--tenant", TENANT]

    for command in (["keys", "--out", str(keys)], ["checkpoint", "--out", str(checkpoint)]):
        assert CliRunner().invoke(app, ["audit", *command, *at]).exit_code == Exit.DONE
    written = lockgate.run("audit", "export", "--out", str(log), who="role:auditor")
    verified = verify(log, keys, checkpoint)

    assert written["lines"] == log.read_bytes().count(b"\n")
    assert verified["good"] is True
    assert verified["tenant"] == TENANT


def test_an_auditor_fetches_a_certificate_and_a_packet(lockgate: Lockgate) -> None:
    """
    One command fetches all that a re-check needs, another what settles a call; both are then checked offline.
    """
    refused = lockgate.run(
        "call", "issue_refund", "order_id=ord_2117", "amount_cents=99", *key(), who="agent:agent-l0", code=Exit.NO
    )
    folder, packet = lockgate.folder / "audit", lockgate.folder / "packet.json"
    at = ["--dev-file", str(lockgate.dev_file), "--tenant", TENANT, "--as", "role:auditor"]

    fetched = lockgate.run("audit", "certificate", "--out", str(folder), who="role:auditor")
    written = CliRunner().invoke(app, ["audit", "packet", str(refused["call"]), "--out", str(packet), *at])
    files = [
        "--bundle",
        str(folder / "bundle.json"),
        "--keys",
        str(folder / "keys.json"),
        "--tools",
        str(folder / "tools"),
    ]
    certificate = str(folder / "certificate.json")
    codes = [
        invariants(["recheck", certificate, *files]),
        invariants(["settle", str(packet), "--certificate", certificate, *files]),
    ]

    assert (written.exit_code, codes) == (Exit.DONE, [0, 0])
    assert str(fetched["certificate"]).startswith("sha256:")


def test_the_doctor_finds_nothing(lockgate: Lockgate) -> None:
    """
    With a gateway that runs, every check is well, and so is the token.
    """
    findings = lockgate.run("doctor", who="role:auditor")

    assert {each["status"] for each in findings} == {"ok"}  # type: ignore[index]


def test_how_far_an_agent_goes_and_why_is_a_command(lockgate: Lockgate) -> None:
    """
    `agents` lists levels and who set them; `agents NAME` adds what counts against one now. Who is not there is a no.
    """
    for _ in range(3):
        given = ["order_id=ord_2118", "amount_cents=60000", "--reason", "damaged_item"]
        lockgate.run("call", "issue_refund", *given, *key(), who=REQUESTER, code=Exit.NO)

    listed = lockgate.run("agents", who="role:auditor")
    one = lockgate.run("agents", "agent-l2", who="role:operator")
    lockgate.run("agents", "agent-nobody", who="role:operator", code=Exit.NO)

    levels = {each["agent"]: each["actions"][0]["level"] for each in listed["agents"]}
    assert (levels["agent-l0"], levels["agent-l2"], levels["agent-l3"]) == (0, 2, 3)
    assert one["actions"][0]["by"] == "persons"
    assert {each["rule"] for each in one["counted"]} >= {"denied-again-and-again", "denied-everywhere"}
