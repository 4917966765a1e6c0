"""Tools are declared in one place, strictly, and added without a line of code."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from policies.schema import generate
from tool_registry import declarations, schemas
from tool_registry.contracts import Contract, Label
from tool_registry.declarations import DeclarationError
from tool_registry.registry import CATALOGUE, Registry, load_catalogue
from tool_registry.shapes import ContractViolation, compile_shape

GIFT_CARD = """
name: issue_gift_card
version: 1
title: Send a customer a gift card.
family: business
effect: irreversible
resource_type: User
resource_argument: user_id
arguments:
  user_id: {kind: identifier, prefix: usr}
  amount_cents: {kind: integer, minimum: 1, maximum: 10000}
result:
  card_id: {kind: identifier, prefix: gft}
reason_codes: [goodwill]
risk: if context.arguments.amount_cents > 2500 then 2 else 1
approver: commerce
visible_to:
  internal: [agents, operator, commerce]
confirm:
  tool: get_user_360
  arguments: {user_id: arguments.user_id}
status_path: /operations/{effect_id}
connector: {kind: http, origin: backoffice, path: /operations/issue_gift_card}
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_catalogue()


def declared(*changes: tuple[str, str]) -> bytes:
    text = GIFT_CARD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text.encode()


def test_a_tool_is_added_by_a_file_alone(tmp_path: Path) -> None:
    """
    One more YAML document in the catalogue is one more tool: contract, validators, JSON Schema and Cedar action.
    """
    catalogue = tmp_path / "catalogue"
    shutil.copytree(CATALOGUE, catalogue)
    (catalogue / "issue_gift_card.yaml").write_bytes(declared())

    registry = load_catalogue(catalogue)

    contract = registry.get("issue_gift_card")
    assert contract is not None
    compile_shape(contract.arguments).check({"user_id": "usr_1", "amount_cents": 10000})
    assert schemas.of_arguments(contract)["required"] == ["user_id", "amount_cents"]
    action = generate(registry.contracts.values()).typed.actions["issue_gift_card"]
    assert action.resource_type == "User"


def test_every_document_of_the_catalogue_is_a_tool(registry: Registry) -> None:
    """
    The catalogue loads whole, each tool under the name of its file.
    """
    files = {path.stem for path in CATALOGUE.glob("*.yaml")}

    assert set(registry.names) == files
    assert all(registry.contracts[name].digest.startswith("sha256:") for name in files)


def test_a_file_under_another_name_is_refused(tmp_path: Path) -> None:
    """
    A document in the catalogue is named like its tool, and the error begins with the name of the file.
    """
    (tmp_path / "gift.yaml").write_bytes(declared())

    with pytest.raises(DeclarationError, match=r"gift\.yaml: name.*the name of the file"):
        load_catalogue(tmp_path)


def test_any_changed_member_changes_the_digest() -> None:
    """
    The digest covers every member, and nothing but the meaning of the document.
    """
    plain = declarations.parse(declared())
    changes = [
        ("version: 1", "version: 2"),
        ("maximum: 10000", "maximum: 10001"),
        ("> 2500", "> 2501"),
        ("approver: commerce", "approver: growth"),
        ("[goodwill]", "[goodwill, other]"),
        ("[agents, operator, commerce]", "[operator, commerce]"),
        ("status_path: /operations/{effect_id}\n", ""),
        ("connector: {", "is_fenced: true\nconnector: {"),
        ("connector: {", "deadline_ms: 2999\nconnector: {"),
    ]

    digests = {declarations.parse(declared(change)).digest for change in changes}

    assert len(digests | {plain.digest}) == len(changes) + 1
    relaid = declared(("approver: commerce", "approver:   'commerce'  # the shop"))
    assert declarations.parse(relaid).digest == plain.digest


@pytest.mark.parametrize(
    ("change", "member"),
    [
        (("version: 1", "version: 1.0"), "version"),
        (("version: 1", "version: true"), "version"),
        (("version: 1", "version: '1'"), "version"),
        (("version: 1", "version: 0"), "version"),
        (("version: 1", "version: 1\nversion: 2"), "version"),
        (("version: 1", "version: 1\nverison: 2"), "verison"),
        (("version: 1\n", ""), "version"),
        (("family: business", "family: *x"), "family"),
        (("family: business", "family: &x business"), "family"),
        (("family: business", "family: !!str business"), "family"),
        (("family: business", "family: nobody"), "family"),
        (("family: business", "family: governance"), "connector"),
        (("resource_type: User", "resource_type: Person"), "resource_type"),
        (("resource_argument: user_id", "resource_argument: amount_cents"), "resource_argument"),
        (("resource_argument: user_id\n", ""), "resource_argument"),
        (("minimum: 1,", "minimum: 20000,"), "arguments.amount_cents.maximum"),
        (("kind: integer,", "kind: number,"), "arguments.amount_cents.kind"),
        (("kind: integer,", "kind: integer, prefix: usr,"), "arguments.amount_cents.prefix"),
        (("integer, minimum: 1, maximum: 10000", "list, fields: {a: {kind: flag}}"), "arguments.amount_cents.kind"),
        (("prefix: gft", "pattern: '(a)\\1'"), "result.card_id.pattern"),
        (("prefix: gft", "pattern: '(?=a)a'"), "result.card_id.pattern"),
        (("prefix: gft", "pattern: 'a)|(?:b'"), "result.card_id.pattern"),
        (("prefix: gft", "pattern: '((a{1000}){1000}){1000}'"), "result.card_id.pattern"),
        ((", prefix: gft", ""), "result.card_id.prefix"),
        (("prefix: gft", "prefix: gft, label: personal"), "visible_to.personal"),
        (("[goodwill]", "[yes]"), "reason_codes[0]"),
        (("[goodwill]", "[goodwill, goodwill]"), "reason_codes"),
        (("[goodwill]", "[]"), "reason_codes"),
        (("approver: commerce", "approver: auditor"), "approver"),
        (("[agents, operator, commerce]", "[everybody]"), "visible_to.internal"),
        (("internal: [", "secret: [operator]\n  internal: ["), "visible_to.secret"),
        (("arguments.user_id}", "arguments.user}"), "confirm.arguments.user_id"),
        (("arguments.user_id}", "facts.user.id}"), "confirm.arguments.user_id"),
        (("arguments.user_id}", "arguments.user_id}\n  expects: {state: arguments.no}"), "confirm.expects.state"),
        (("arguments.user_id}", "arguments.user_id}\n  expects: [state]"), "confirm.expects"),
        (("arguments.user_id}", "arguments.user_id}\n  expects: {state: {a: 1}}"), "confirm.expects"),
        (("confirm:", "undo:"), "undo"),
        (("{effect_id}", "{call}"), "status_path"),
        (("path: /operations/issue", "path: /operations/../issue"), "connector.path"),
        (("path: /operations/issue", "path: /operations/%2e/issue"), "connector.path"),
        (("origin: backoffice", "origin: 'http://169.254.169.254'"), "connector.origin"),
        (("risk: if", "risk: // if"), "risk"),
        (("risk: if", "excluded: [arguments.amount_cents]\nrisk: if"), "excluded"),
        (("title: Send a", "title: Send \u202ea"), "title"),
        (("title: Send a", "title: Send cafe\u0301 a"), "title"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_names_its_member(change: tuple[str, str], member: str) -> None:
    """
    Whatever is wrong with a declaration, the error names the member and what was expected there.
    """
    with pytest.raises(DeclarationError) as caught:
        declarations.parse(declared(change))

    assert caught.value.member == member
    assert caught.value.expected


@pytest.mark.parametrize("word", ["on", "Yes", "n", "null", "~", "0x1f", "010", "1_000", "12:30", "2026-01-31", "1e3"])
def test_words_with_two_readings_need_quotes(word: str) -> None:
    """
    A plain word that some YAML reader takes for something else than text is refused; in quotes it is text.
    """
    with pytest.raises(DeclarationError, match="`title`: expected a text in quotes"):
        declarations.parse(declared(("Send a customer a gift card.", word)))

    if len(word) > 1:
        quoted = declarations.parse(declared(("Send a customer a gift card.", f"'{word}'")))
        assert quoted.title == word


@pytest.mark.parametrize(
    "document",
    [b"", b"\xff", b"a: [", b"- a", b"a: 1\n---\nb: 2", b"%YAML 1.1\n---\na: 1", b"a: " + b"[" * 30_000, b"#" * 70_000],
    ids=["empty", "bytes", "open", "list", "two", "directive", "deep", "large"],
)
def test_what_is_no_document_is_refused(document: bytes) -> None:
    """
    J03: bytes that are no single, bounded YAML mapping give an error of the same kind as a wrong member.
    """
    with pytest.raises(DeclarationError, match="expected"):
        declarations.parse(document)


def test_errors_do_not_repeat_what_was_written() -> None:
    """
    H01: a declaration's error repeats neither a value nor a name that is not shaped like one of ours.
    """
    for change in (("version: 1", "version: 4111111111111111111"), ("version: 1", "4111 1111: {x: 1}")):
        with pytest.raises(DeclarationError) as caught:
            declarations.parse(declared(change))

        assert "4111" not in str(caught.value)


def test_only_business_tools_over_http_are_registered() -> None:
    """
    What is uploaded while the gateway runs can neither govern nor reach into the gateway.
    """
    local = declared(
        ("{kind: http, origin: backoffice, path: /operations/issue_gift_card}", "{kind: local}"),
        ("status_path: /operations/{effect_id}\n", ""),
    )

    with pytest.raises(DeclarationError, match=r"connector\.kind"):
        declarations.parse_registered(local)
    with pytest.raises(DeclarationError, match="family"):
        declarations.parse_registered((CATALOGUE / "publish_bundle.yaml").read_bytes())
    with pytest.raises(DeclarationError, match=r"connector\.kind"):
        declarations.parse_registered((CATALOGUE / "trace_lookup.yaml").read_bytes())


def test_a_registered_tool_makes_a_new_registry(registry: Registry) -> None:
    """
    Registering leaves the former registry as it was and gives one with another digest.
    """
    contract = declarations.parse_registered(declared())

    larger = registry.with_tool(contract)

    assert registry.get("issue_gift_card") is None
    assert larger.get("issue_gift_card") == contract
    assert larger.digest != registry.digest
    assert larger.names == tuple(sorted((*registry.names, contract.name)))


def test_a_name_is_taken_over_only_by_a_higher_version(registry: Registry) -> None:
    """
    The same name with the same or a lower version is refused; with a higher one it replaces the tool.
    """
    first = declarations.parse_registered(declared(("version: 1", "version: 3")))
    with_first = registry.with_tool(first)

    for version in (2, 3):
        with pytest.raises(DeclarationError, match="`version`: expected more than 3"):
            with_first.with_tool(declarations.parse_registered(declared(("version: 1", f"version: {version}"))))
    newer = declarations.parse_registered(declared(("version: 1", "version: 4")))
    assert with_first.with_tool(newer).get("issue_gift_card") == newer


@pytest.mark.parametrize("name", ["publish_bundle", "engage_kill", "search_audit_logs"])
def test_nobody_shadows_the_gateway(registry: Registry, name: str) -> None:
    """
    A registered tool never takes the name of governance or of a view of the ledger, whatever its version.
    """
    shadow = declarations.parse_registered(declared(("issue_gift_card\nversion: 1", f"{name}\nversion: 99")))

    with pytest.raises(DeclarationError, match="name"):
        registry.with_tool(shadow)


def test_an_undo_must_exist_and_fit(registry: Registry) -> None:
    """
    A tool that is undone or confirmed by one that is not there, or takes other arguments, does not get in.
    """
    contract = declarations.parse_registered(declared(("get_user_360", "get_order")))
    missing = declarations.parse_registered(declared(("get_user_360", "get_nothing")))
    effectful = declarations.parse_registered(declared(("get_user_360", "revoke_push_tokens")))

    with pytest.raises(DeclarationError, match=r"confirm\.arguments"):
        registry.with_tool(contract)
    with pytest.raises(DeclarationError, match=r"confirm\.tool"):
        registry.with_tool(missing)
    with pytest.raises(DeclarationError, match=r"confirm\.tool"):
        registry.with_tool(effectful)


@pytest.mark.parametrize(
    "expects", ["{nothing: 1}", "{state: arguments.amount_cents}", "{state: levitating}", "{user_id: result.card_id}"]
)
def test_a_confirming_read_is_expected_to_show_what_it_can(registry: Registry, expects: str) -> None:
    """
    What is expected is a member that the read always shows, with a value of its kind; then the tool gets in, under
    another digest than without.
    """
    wanted = ("user_id: arguments.user_id}", f"user_id: arguments.user_id}}\n  expects: {expects}")
    right = ("user_id: arguments.user_id}", "user_id: arguments.user_id}\n  expects: {user_id: arguments.user_id}")

    with pytest.raises(DeclarationError, match=r"confirm\.expects"):
        registry.with_tool(declarations.parse_registered(declared(wanted)))
    plain, sound = (declarations.parse_registered(declared(*each)) for each in ((), (right,)))

    assert registry.with_tool(sound).contracts[sound.name].confirm == sound.confirm
    assert plain.digest != sound.digest


def test_two_tools_never_share_a_name(registry: Registry) -> None:
    """
    A registry is not made of contracts of which two have one name.
    """
    contract = registry.contracts["get_order"]

    with pytest.raises(DeclarationError, match="no other tool has"):
        Registry((contract, replace(contract, version=2)))


def test_results_carry_exactly_the_declared_members(registry: Registry) -> None:
    """
    A result with a member that the contract does not name is no result, and the fault shows no value of it.
    """
    shape = compile_shape(registry.contracts["change_price"].result)

    shape.check({"product_id": "prd_1", "price_cents": 1999})
    with pytest.raises(ContractViolation) as caught:
        shape.check({"product_id": "prd_1", "price_cents": 1999, "iban 4711": 1})

    assert caught.value.faults == [("", "no member but product_id, price_cents")]


def test_secrets_are_visible_to_nobody(registry: Registry) -> None:
    """
    H01: no contract can name a reader of secret values, and personal ones are not for agents.
    """

    def visible(contract: Contract, label: Label) -> tuple[str, ...]:
        return contract.visible_to.get(label.value, ())

    for contract in registry.contracts.values():
        assert visible(contract, Label.SECRET) == ()
        assert "agents" not in visible(contract, Label.PERSONAL)
