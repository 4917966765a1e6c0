"""A bundle tried out on the command line: the base bundle passes, and a weakened guard shows what it would allow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from admin import remarks
from admin.__main__ import app
from policies import bundles
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from tests.architecture.tree import ROOT

BASE = ROOT / "policies" / "base"
GUARD = "context.facts.order.paid_cents - context.facts.order.refunded_cents - context.facts.order.in_flight_cents\n};"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the base bundle's folder, to change."""
    return Path(shutil.copytree(BASE, tmp_path / "rules"))


def test_the_base_bundle_passes_every_step() -> None:
    """
    Form, validation, cases, proof and every question of a reviewer are asked of the shipped rules; none is in the way.
    """
    done = CliRunner().invoke(app, ["bundle", "check", str(BASE), "--json"])

    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (found["ok"], found["verdict"]) == (True, "good")
    steps = [step["name"] for step in found["steps"]]
    assert steps == ["form", "validation", "cases", "proof", *(each.value for each in remarks.ASKED)]
    assert {step["status"] for step in found["steps"]} == {"ok", "remark"}
    (decisive,) = [step for step in found["steps"] if step["name"] == "decisive"]
    assert any("`approval-operator`: dead" in detail and "accepted: " in detail for detail in decisive["details"])


def test_a_weakened_guard_is_refused_with_the_call_it_would_allow(folder: Path) -> None:
    """
    Where a guard forgot what is in flight, the proof shows the refund that the bundle would let through.
    """
    policies = folder / "policies.cedar"
    text = policies.read_text()
    assert GUARD in text
    policies.write_text(text.replace(GUARD, GUARD.replace(" - context.facts.order.in_flight_cents", ""), 1))

    done = CliRunner().invoke(app, ["bundle", "check", str(folder), "--json"])

    refuted = [step for step in json.loads(done.stdout)["steps"] if "counter_example" in step]
    assert done.exit_code == 1
    assert {step["counter_example"]["action"] for step in refuted} == {"issue_refund"}
    context = refuted[0]["counter_example"]["context"]
    order = context["facts"]["order"]
    left = order["paid_cents"] - order["refunded_cents"] - order["in_flight_cents"]
    assert context["arguments"]["amount_cents"] > left


def test_a_signed_bundle_verifies_for_its_tenant_alone(folder: Path, tmp_path: Path) -> None:
    """
    `bundle sign` makes a bundle that a gateway of that tenant and environment accepts, and no other.
    """
    key = PrivateKey.generate()
    key_file, out = tmp_path / "bundle.key", tmp_path / "bundle.json"
    key.save(key_file)

    where = ["--tenant", "acme", "--environment", "prod", "--out", str(out)]
    done = CliRunner().invoke(
        app, ["bundle", "sign", str(folder), "--revision", "7", "--key-file", str(key_file), *where]
    )

    bundle = bundles.parse(out.read_bytes())
    ring = KeyRing((TrustedKey(public=key.public, purposes=frozenset({"bundle"})),))
    at_ms = int(bundle.manifest.created_at.timestamp() * 1000)
    assert done.exit_code == 0
    assert bundle.manifest.revision == 7
    assert bundles.verify(bundle, ring, tenant="acme", environment="prod", at_ms=at_ms) == key.key_id
    with pytest.raises(bundles.PolicyFault, match="another tenant"):
        bundles.verify(bundle, ring, tenant="zenith", environment="prod", at_ms=at_ms)


def test_a_folder_that_lacks_a_file_is_told_which(folder: Path) -> None:
    """
    What is missing is named, with what the folder holds when it is whole.
    """
    (folder / "cases.json").unlink()

    done = CliRunner().invoke(app, ["bundle", "check", str(folder)])

    assert done.exit_code == 3
    assert "cases.json" in done.stderr
