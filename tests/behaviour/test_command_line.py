"""The command line against a gateway that answers from a script: what it sends, shows, signs and exits with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from admin.__main__ import app
from proofs import approvals
from proofs.keys import PrivateKey

CALL = "call_" + "0" * 32
DIGEST = "sha256:" + "a" * 64
KEY = PrivateKey.from_seed(bytes([7]) * 32)
CONTRACT = {
    "name": "issue_refund",
    "effect": "irreversible",
    "reason_codes": ["damaged_item", "late_delivery"],
    "arguments": {"properties": {"order_id": {"type": "string"}, "amount_cents": {"type": "integer"}}},
}
PARKED = {
    "call": CALL,
    "status": "parked",
    "needs": [{"role": "finance", "persons": 1}],
    "statement": {
        "call": DIGEST,
        "tool": DIGEST,
        "bundle": DIGEST,
        "requester": "agent/refunder",
        "not_after": "2030-01-01T00:00:00Z",
    },
}


@dataclass
class Scripted:
    """A gateway that answers each `METHOD path` with what the test set, and remembers what it was sent."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    received: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    def body_of(self, request: str) -> Any:
        """The body of the only request to `METHOD path`."""
        (body,) = (sent for method, path, _, sent in self.received if f"{method} {path}" == request)
        return body

    def headers_of(self, request: str) -> dict[str, str]:
        """The headers of the only request to `METHOD path`."""
        (headers,) = (each for method, path, each, _ in self.received if f"{method} {path}" == request)
        return headers


@pytest.fixture
def gateway() -> Iterator[Scripted]:
    """A scripted gateway on loopback."""
    scripted = Scripted()

    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            scripted.received.append((self.command, self.path, dict(self.headers), body))
            status, document = scripted.answers.get(f"{self.command} {self.path}", (404, {"reason": "unknown_call"}))
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scripted.url = f"http://127.0.0.1:{server.server_port}"
    scripted.answers["GET /v1/tools/issue_refund"] = (200, CONTRACT)
    yield scripted
    server.shutdown()
    server.server_close()


@pytest.fixture
def dev_file(gateway: Scripted, tmp_path: Path) -> Path:
    """What `make dev` would have written for the scripted gateway."""
    people = [
        {"person": "per_fin", "roles": ["finance"], "token": "t-fin", "key_id": KEY.key_id, "private_key": KEY.text}
    ]
    agents = [{"id": "refunder", "autonomy": "L2", "token": "t-agent"}]
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"url": gateway.url, "tenants": {"acme": {"people": people, "agents": agents}}}))
    return path


def run(*arguments: str) -> Result:
    """One command, its two outputs kept apart."""
    return CliRunner().invoke(app, list(arguments), prog_name="lockgate", env={"NO_COLOR": "1", "COLUMNS": "200"})


@pytest.mark.parametrize(
    ("named", "token"),
    [("role:auditor", "t-acme"), ("acme/role:auditor", "t-acme"), ("system/role:auditor", "t-system")],
)
def test_the_people_of_tenant_system_act_when_the_tenant_is_named(
    gateway: Scripted, tmp_path: Path, named: str, token: str
) -> None:
    """
    `make dev` names them apart from the tenants; a role without a tenant is never one of theirs.
    """
    acme = {"people": [{"person": "per_1", "roles": ["auditor"], "token": "t-acme"}]}
    system = {"people": [{"person": "per_1", "roles": ["auditor"], "token": "t-system"}]}
    file = tmp_path / "dev.json"
    file.write_text(json.dumps({"url": gateway.url, "tenants": {"acme": acme}, "system": system}))
    gateway.answers["GET /v1/calls"] = (200, {"calls": []})

    done = run("calls", "--as", named, "--dev-file", str(file))

    assert done.exit_code == 0
    assert gateway.headers_of("GET /v1/calls")["Authorization"] == f"Bearer {token}"


def refund(dev_file: Path, *more: str) -> Result:
    """`lockgate call issue_refund …` as the agent."""
    given = ["order_id=ord_1001", "amount_cents=1250", "--as", "agent:refunder", "--dev-file", str(dev_file)]
    return run("call", "issue_refund", *given, *more)


def test_a_call_carries_typed_arguments_a_key_and_the_named_token(gateway: Scripted, dev_file: Path) -> None:
    """
    The contract decides what is a number; a key is made where none is given; the token is that of `--as`.
    """
    gateway.answers["POST /v1/calls"] = (200, {"call": CALL, "status": "executed", "result": {"refund_id": "ref_1"}})

    done = refund(dev_file)

    assert done.exit_code == 0
    assert gateway.body_of("POST /v1/calls") == {
        "tool": "issue_refund",
        "arguments": {"order_id": "ord_1001", "amount_cents": 1250},
        "reason_code": "damaged_item",
        "approvals": [],
    }
    headers = gateway.headers_of("POST /v1/calls")
    assert headers["Authorization"] == "Bearer t-agent"
    assert len(headers["Idempotency-Key"]) == 36


@pytest.mark.parametrize(
    ("status", "document", "code"),
    [
        (200, {"status": "executed"}, 0),
        (200, {"status": "failed"}, 1),
        (202, PARKED, 4),
        (403, {"reason": "policy_denied"}, 1),
        (409, {"reason": "in_flight"}, 1),
        (429, {"reason": "rate_exceeded"}, 3),
        (503, {"reason": "ledger_unavailable"}, 3),
        (504, {"reason": "in_doubt"}, 5),
    ],
)
def test_the_exit_code_says_what_became_of_a_call(
    gateway: Scripted, dev_file: Path, status: int, document: dict[str, Any], code: int
) -> None:
    """
    A script tells done, no, could not find out, parked and in doubt apart without reading the text.
    """
    gateway.answers["POST /v1/calls"] = (status, document)

    assert refund(dev_file).exit_code == code


def test_a_refusal_names_rule_hint_numbers_and_the_next_step(gateway: Scripted, dev_file: Path) -> None:
    """
    Whoever is refused sees why and what to do, without asking again.
    """
    gateway.answers["POST /v1/calls"] = (
        403,
        {
            "reason": "invariant_violated",
            "call": CALL,
            "rules": [{"engine": "cedar", "id": "refund-guard", "effect": "forbid", "hint": "ask for less"}],
            "invariant_checks": [{"id": "refund-cap", "status": "fail", "value": 9000, "limit": 4999}],
        },
    )

    done = refund(dev_file)

    for expected in ("refund-guard", "ask for less", "refund-cap", "9000", "4999"):
        assert expected in done.stdout
    assert f"lockgate explain {CALL}" in done.stderr


def test_a_refused_upload_shows_the_call_that_it_would_allow_as_it_is_typed(
    gateway: Scripted, dev_file: Path, tmp_path: Path
) -> None:
    """
    The author of a bundle reads which call passes by it, and not a JSON document.
    """
    question = {
        "principal": {"type": "Person", "id": "per_1", "roles": ["finance"]},
        "action": "issue_refund",
        "resource": {"type": "Order", "id": "ord_1"},
        "context": {
            "arguments": {"amount_cents": 2},
            "facts": {"order": {"paid_cents": 1}},
            "approvals": {"persons": 0},
        },
    }
    finding = {"invariant": "refund-cap", "message": "violated", "sentence": "Never more.", "would_allow": question}
    gateway.answers["POST /v1/bundles"] = (422, {"reason": "bundle_refused", "stage": "proof", "findings": [finding]})
    (tmp_path / "bundle.json").write_text("{}")

    done = run(
        "bundle", "publish", str(tmp_path / "bundle.json"), "--as", "person:per_fin", "--dev-file", str(dev_file)
    )

    assert done.exit_code == 1
    assert "issue_refund amount_cents=2 by a person of finance where order.paid_cents 1" in done.stdout


def test_json_is_one_document_and_nothing_else(gateway: Scripted, dev_file: Path) -> None:
    """
    With `--json` standard output parses as exactly the gateway's answer; words go to standard error.
    """
    gateway.answers["POST /v1/calls"] = (202, PARKED)

    done = refund(dev_file, "--json")

    assert json.loads(done.stdout) == PARKED


def test_nobody_acts_by_default(dev_file: Path) -> None:
    """
    Without `--as` nothing is sent, and the message names who there is.
    """
    done = run("call", "issue_refund", "--dev-file", str(dev_file))

    assert done.exit_code == 2
    assert "role:finance" in done.stderr
    assert "agent:refunder" in done.stderr


def test_a_wrong_argument_is_found_before_anything_is_sent(gateway: Scripted, dev_file: Path) -> None:
    """
    A name that the contract does not have is refused here, with the names that it has.
    """
    done = refund(dev_file, "ammount=1")

    assert done.exit_code == 2
    assert "order_id, amount_cents" in done.stderr
    assert not [path for method, path, _, _ in gateway.received if method == "POST"]


def test_an_approval_is_signed_over_exactly_the_gateways_statement(gateway: Scripted, dev_file: Path) -> None:
    """
    What is sent verifies under the approver's key, and names call, tool, bundle, requester and time as given.
    """
    gateway.answers[f"GET /v1/calls/{CALL}"] = (200, PARKED)
    gateway.answers[f"POST /v1/calls/{CALL}/approvals"] = (201, {"approval": "appr_1"})

    done = run("approve", CALL, "--as", "role:finance", "--yes", "--dev-file", str(dev_file))

    sent = gateway.body_of(f"POST /v1/calls/{CALL}/approvals")
    statement = approvals.parse(sent["statement"])
    assert done.exit_code == 0, done.stderr
    assert {name: sent["statement"][name] for name in PARKED["statement"]} == PARKED["statement"]  # type: ignore[attr-defined, index]
    assert (statement.approver, statement.verdict) == ("person/per_fin", "approve")
    assert approvals.verify(statement, sent["signature"], KEY.public, environment="dev", tenant="acme")
    assert "--approval appr_1" in done.stderr


def test_a_signed_call_that_waits_says_how_it_goes_on(gateway: Scripted, dev_file: Path) -> None:
    """
    Whoever looks at a parked call that has approvals is given the options that present them.
    """
    approvals = [
        {"approval": "appr_1", "verdict": "approve", "person": "per_a"},
        {"approval": "appr_2", "verdict": "approve", "person": "per_b"},
    ]
    gateway.answers[f"GET /v1/calls/{CALL}"] = (200, {**PARKED, "approvals": approvals})

    done = run("explain", CALL, "--as", "agent:refunder", "--dev-file", str(dev_file))

    assert "--approval appr_1 --approval appr_2" in done.stderr


def test_nothing_is_signed_without_a_yes(gateway: Scripted, dev_file: Path) -> None:
    """
    The approver sees the call and is asked; without an answer no approval leaves.
    """
    gateway.answers[f"GET /v1/calls/{CALL}"] = (200, PARKED)

    done = run("approve", CALL, "--as", "role:finance", "--dev-file", str(dev_file))

    assert done.exit_code != 0
    assert not [path for method, path, _, _ in gateway.received if method == "POST"]


def test_an_agent_signs_nothing(gateway: Scripted, dev_file: Path) -> None:
    """
    Approvals are people's; the command says so before it asks the gateway.
    """
    done = run("approve", CALL, "--as", "agent:refunder", "--yes", "--dev-file", str(dev_file))

    assert done.exit_code == 2
    assert gateway.received == []


def test_a_readable_key_file_is_not_used(dev_file: Path, tmp_path: Path) -> None:
    """
    A private key that others on the machine can read is refused, with what to do.
    """
    key_file = tmp_path / "finance.key"
    KEY.save(key_file)
    key_file.chmod(0o644)

    done = run("approve", CALL, "--as", "role:finance", "--key-file", str(key_file), "--dev-file", str(dev_file))

    assert done.exit_code == 2
    assert "0600" in done.stderr


def test_a_token_never_travels_in_the_clear(dev_file: Path) -> None:
    """
    Over plain HTTP the token goes to loopback only.
    """
    done = run("tools", "--as", "agent:refunder", "--url", "http://gateway.example", "--dev-file", str(dev_file))

    assert done.exit_code == 2
    assert "https" in done.stderr


def test_an_absent_gateway_is_named_with_the_next_step(dev_file: Path) -> None:
    """
    Nothing listening is exit 3, one sentence and what to start.
    """
    done = run("tools", "--as", "agent:refunder", "--url", "http://127.0.0.1:9", "--dev-file", str(dev_file))

    assert done.exit_code == 3
    assert "make dev" in done.stderr


def test_what_came_from_elsewhere_cannot_paint_the_terminal(gateway: Scripted, dev_file: Path) -> None:
    """
    Escape, bidi and zero-width characters in an answer are shown as code points, markup as text.
    """
    hostile = "\x1b[2J[red]approved[/red]\u202e\u200b"
    gateway.answers["POST /v1/calls"] = (200, {"status": "executed", "result": hostile})

    done = refund(dev_file)

    assert "\x1b" not in done.stdout
    assert "<U+001B>[2J[red]approved[/red]<U+202E><U+200B>" in done.stdout


def test_half_an_export_is_never_left_under_its_name(gateway: Scripted, dev_file: Path, tmp_path: Path) -> None:
    """
    An export that the gateway refuses leaves no file that looks like a log.
    """
    out = tmp_path / "log.jsonl"

    done = run("audit", "export", "--out", str(out), "--as", "role:finance", "--dev-file", str(dev_file))

    assert done.exit_code == 1
    assert not out.exists()


def test_every_command_has_help_and_json() -> None:
    """
    Each command that talks to a gateway takes `--json`, and says what it is for.
    """
    for words in (["call"], ["approve"], ["explain"], ["tools"], ["bundle", "publish"], ["kill", "engage"], ["doctor"]):
        done = run(*words, "--help")

        assert done.exit_code == 0
        assert "--json" in done.stdout


def test_doctor_says_what_to_do_without_a_gateway(tmp_path: Path) -> None:
    """
    On a machine where nothing runs, the examination ends well and names the next step.
    """
    done = run("doctor", "--json", "--dev-file", str(tmp_path / "absent.json"))

    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert found["python"]["status"] == "ok"
    assert "make dev" in found["gateway"]["next_step"]
