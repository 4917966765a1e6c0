"""Attacks on the engines: rules that err, answers of another shape, code that reaches out, engines that hang."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

from policies import bundles, rego_source, review
from policies.cedar import Engine
from policies.decider import Decider
from policies.decisions import Verdict
from policies.errors import EngineUnavailable, PolicyFault
from policies.projection import Projector
from policies.questions import Entity
from policies.rego import RegoWorker, read
from policies.rego_answers import RegoRules
from policies.replay import read as read_question
from tests.world.bundles import ask, bundle, cedar_schema, contracts, decide, refund, with_policies, with_worker

HEAD = "package lockgate\n\nimport rego.v1\n\n"
QUIET: dict[str, Any] = {
    "module": HEAD,
    "data": {},
    "deny": {"a-rule": "A hint."},
    "obligations": {"a-duty": "A hint."},
}


@pytest.mark.parametrize(
    "condition",
    [
        "context.nothing_of_that_name > 0",
        "context.facts.order.nothing_of_that_name > 0",
        "context.arguments.amount_cents + 9223372036854775807 > 0",
        "context.reason_code > 5",
        'principal.level == "x"',
    ],
    ids=["missing member", "missing fact", "overflow", "wrong type", "attribute of an entity"],
)
def test_forbid_that_errs_denies(condition: str) -> None:
    """
    C01, C02: Cedar drops a forbid that errs and answers Allow; the decision is a policy error all the same.
    """
    scope = '(principal, action == Action::"issue_refund", resource)'
    erring = with_policies(f'@id("erring") @hint("None.") forbid {scope} when {{ {condition} }};')
    engine = Engine(erring.policies, cedar_schema())

    (decision,) = decide(erring, refund(1250))

    assert engine.raw_allow(refund(1250))
    assert (decision.verdict, decision.reason) == (Verdict.ERROR, "policy_error")
    assert decision.errors == ("cedar:erring",)


@pytest.mark.parametrize("value", [1.5, None, 2**64, "12", True, [1]])
def test_context_that_cedar_cannot_take_denies(value: object) -> None:
    """
    C03: floats, null and integers beyond 64 bits get NoDecision, other types err: never a permit.
    """
    question = refund(1250)
    question = replace(question, context={**question.context, "arguments": {"order_id": "o", "amount_cents": value}})
    engine = Engine(bundle().policies, cedar_schema())

    (decision,) = decide(bundle(), question)

    assert engine.decide(question).allowed is False
    assert engine.decide(question).errors
    assert (decision.verdict, decision.reason) == (Verdict.ERROR, "policy_error")


@pytest.mark.parametrize(
    ("principal", "action"), [("Role", "issue_refund"), ("Agent", "no_such_tool"), ("User", "get_order")]
)
def test_question_about_what_does_not_exist_denies(principal: str, action: str) -> None:
    """
    A principal type or an action outside the schema is a policy error, also where a rule is unconstrained.
    """
    engine = Engine('@id("all") @hint("All.") permit (principal, action, resource);', cedar_schema())
    question = replace(refund(1250), principal=Entity(type=principal, id="x"), action=action)

    assert engine.decide(question).allowed is False
    assert engine.decide(question).errors == ("unknown_action",)


@pytest.mark.parametrize(
    "decision",
    [
        '"true"',
        "1",
        "true",
        "{}",
        "[]",
        "null",
        '[{"deny": [], "obligations": []}]',
        '{"deny": [], "obligations": [], "warning": ["w"]}',
        '{"deny": []}',
        '{"deny": "a-rule", "obligations": []}',
        '{"deny": [1], "obligations": []}',
        '{"deny": ["no-such-rule"], "obligations": []}',
        '{"deny": [], "obligations": ["no-such-duty"]}',
        '{"deny": input.nothing, "obligations": []}',
        '{"deny": [], "obligations": []} if input.nothing',
    ],
)
def test_answer_of_another_shape_is_an_error(decision: str) -> None:
    """
    C03: undefined, misshapen, or a rule outside the closed list: each is an error, and none an empty list of denials.
    """

    async def story(worker: RegoWorker) -> tuple[str, ...]:
        await worker.load("b", RegoRules(**{**QUIET, "module": f"{HEAD}decision := {decision}\n"}))
        return (await worker.decide("b", b'{"now":1}')).errors

    assert with_worker(story) != ()


@pytest.mark.parametrize(
    "text",
    [
        b'{"expressions":[{"deny":["a-rule"],"deny":[],"obligations":[]}]}',
        b'{"expressions":[{"deny":[],"obligations":[]}],"bindings":{}}',
        b'{"expressions":[{"deny":[],"obligations":[]},{"deny":[],"obligations":[]}]}',
        b'{"expressions":[{"deny":[],"obligations":[]}]',
        b"<html>",
        b"",
        b"\xff",
    ],
)
def test_text_that_is_not_exactly_an_answer_is_an_error(text: bytes) -> None:
    """
    A duplicate member, a second result or half an answer is never read as "nothing denies".
    """
    assert read(text, RegoRules(**QUIET)).errors == ("misshapen",)


@pytest.mark.parametrize(
    "body",
    [
        'x := http.send({"method": "get", "url": "http://127.0.0.1"})',
        "x := opa.runtime()",
        "x := time.now_ns()",
        'x := rand.intn("x", 10)',
        'x := net.lookup_ip_addr("localhost")',
        'x := regex.match("(a+)+$", input.action)',
        "x := numbers.range(1, 1000000000)",
        "x := walk(input)",
        'x := data.f["http.send"]({})',
        "x := 1 with http.send as count",
        "import data.other",
        "x := http.send ({})",
        "x := http.send\n({})",
        "x := `\nwalk(` == walk(input)",
        'x := $"{http.send({})}"',
        "x := $`{opa.runtime()}`",
    ],
)
def test_module_that_reaches_out_is_refused_at_publish(body: str) -> None:
    """
    C14: whatever reaches the network, the clock or randomness, or makes work out of nothing, is not on the list.
    """
    module = f'{HEAD}decision := {{"deny": [], "obligations": []}}\n{body}\n'

    found = review.validate(bundle(rego=module), cedar_schema())

    assert any(finding.file == "deny.rego" for finding in found)


@pytest.mark.parametrize(
    "body",
    [
        "x := max([5, 10])",
        "x := min([5, 10])",
        "x := input.now % 7",
        "x := input.now / 7",
        'x if not startswith(input.action, "ban")',
        "x if not input.action in data.tools",
        "x if not f(input.action)\nf(a) if a",
        "x if not input.risk == 3",
        "x if input.arguments[name] in data.list",
        "x := data",
        "lockgate_answer := 1",
        "x := lockgate_answer.decisions",
        'x := data["list"]',
        "x := data.lockgate.deny",
        "x := object.get(data, input.action, 1)",
    ],
)
def test_what_engines_decide_differently_is_refused_at_publish(body: str) -> None:
    """
    C06: the embedded engine takes 5 for the maximum of 5 and 10; what it and OPA answer differently no bundle may use.
    """
    module = f'{HEAD}decision := {{"deny": [], "obligations": []}}\n{body}\n'

    assert rego_source.faults(module) != ()


@pytest.mark.parametrize(
    "body",
    [
        "x if not y\ny if input.risk",
        "x if { not input.registered }",
        "x if { not y; input.risk > 1 }",
        "x := [1 | not y]",
        "x := {data.list[0], input.data.x}",
        'x := "data % not data[0] / $"',
        "x if some name, value in input.arguments",
        "x if input.action in [name | some name in data.list]",
    ],
)
def test_what_they_decide_alike_is_not_refused(body: str) -> None:
    """
    The refusals above stop nothing beside them.
    """
    assert rego_source.faults(f"{HEAD}{body}\n") == ()


def test_data_may_not_stand_in_the_place_of_the_module() -> None:
    """
    A member `lockgate` of the data would meet the module's own rules.
    """
    found = review.validate(bundle(data={**bundles.base()["data"], "lockgate": {}}), cedar_schema())

    assert [each.file for each in found] == ["data.json"]


def test_names_in_comments_and_strings_are_no_calls() -> None:
    """
    What a module says in words is not what it does.
    """
    module = f'{HEAD}# http.send(x) is not called\nx := "opa.runtime()"\ny if count(input.roles) > 1\n'

    assert rego_source.faults(module) == ()


def test_misspelt_member_of_the_input_is_found() -> None:
    """
    A deny rule over a member that does not exist would never hold: it is refused at publish instead.
    """
    module = bundle().rego.module.replace("input.risk", "input.rsk")

    found = review.validate(bundle(rego=module), cedar_schema())

    assert [str(finding) for finding in found] == ["deny.rego: `input.rsk` is not a member of the projection"]


ENDLESS = f"""{HEAD}
decision := {{"deny": deny, "obligations": []}}
deny := [a | some a in data.many; some b in data.many; some c in data.many; some d in data.many; a + b + c + d == -1]
"""


def test_rule_without_end_is_cut_and_others_go_on() -> None:
    """
    C05, C14: questions to an engine that hangs are unavailable within the bound, and the next ones are answered.
    """

    async def story(worker: RegoWorker) -> tuple[float, int]:
        await worker.load(
            "quiet", RegoRules(**{**QUIET, "module": f'{HEAD}decision := {{"deny": [], "obligations": []}}\n'})
        )
        await worker.load("endless", RegoRules(**{**QUIET, "module": ENDLESS, "data": {"many": list(range(300))}}))
        begun = time.monotonic()
        asked = await asyncio.gather(*(worker.decide("endless", b"{}") for _ in range(50)), return_exceptions=True)
        took = time.monotonic() - begun
        assert (await worker.decide("quiet", b"{}")).errors == ()
        return took, sum(isinstance(each, EngineUnavailable) for each in asked)

    took, unavailable = with_worker(story, deadline_seconds=1.0)

    assert unavailable == 50
    assert took < 2.0


def test_module_that_does_not_build_is_refused_and_harms_nobody() -> None:
    """
    A bundle whose module does not build is a fault of that bundle; the worker answers for the others.
    """

    async def story(worker: RegoWorker) -> None:
        decider = Decider(bundle(), contracts().values(), worker)
        await decider.load()
        with pytest.raises(PolicyFault, match="does not build"):
            await worker.load("broken", RegoRules(**{**QUIET, "module": f"{HEAD}decision := {{"}))
        assert (await decider.decide(refund(1250))).verdict is Verdict.PERMIT

    with_worker(story)


def test_bundle_is_loaded_although_the_worker_dies_meanwhile() -> None:
    """
    A worker that dies of another question does not make a sound bundle a bad one.
    """

    async def story(worker: RegoWorker) -> tuple[str, ...]:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        loading = asyncio.ensure_future(Decider(bundle(), contracts().values(), worker).load())
        await asyncio.sleep(0.05)
        os.kill(worker.pid, signal.SIGKILL)
        await loading
        return (await worker.decide(bundle().digest, b'{"action":"a","now":1,"risk":0}')).errors

    assert with_worker(story) == ()


@pytest.mark.parametrize(
    "identity",
    ['x", "deny":"forged', "a\\b", "é", "a\nb", "a\x00b", "{{}}", "a" * 201, "a b"],
)
def test_string_that_is_not_plain_never_reaches_rego(identity: str) -> None:
    """
    A string that could forge members, or be matched as other characters, refuses the call before the engine sees it.
    """
    question = replace(refund(1250), principal=Entity(type="Agent", id=identity))

    with pytest.raises(PolicyFault):
        Projector(contracts()["issue_refund"], None).project(question)
    (decision,) = decide(bundle(), question)

    assert decision.errors == ("question:not_plain",)


def test_free_text_is_no_part_of_the_projection() -> None:
    """
    Titles and bodies of listings stay out of the embedded engine.
    """
    question = ask("agent/a", "publish_listing", arguments={"title": 'x", "deny":"forged', "body": "b"})

    projected = Projector(contracts()["publish_listing"], None).project(question)

    assert projected["arguments"].keys() == {"product_id", "channel"}


@pytest.mark.parametrize(
    ("module", "projected"),
    [
        ("a := input.principal.id", {"principal": {"id": "support"}}),
        ("a := input.principal.id\nb := input.principal", {"principal": {"id": "support", "type": "Agent"}}),
        ("a := input.principal\nb := input.principal.id", {"principal": {"id": "support", "type": "Agent"}}),
        ('a := input.principal["id"]', {"principal": {"id": "support", "type": "Agent"}}),
        ("a := input.arguments.amount_cents\nb := input.risk", {"arguments": {"amount_cents": 1250}, "risk": 1}),
        ("a := 1", {}),
    ],
)
def test_module_is_sent_what_it_names_and_no_more(module: str, projected: dict[str, Any]) -> None:
    """
    A member that the module names by a dot is sent alone; named in any other way, its record is sent whole.
    """
    question = replace(refund(1250), principal=Entity(type="Agent", id="support"))
    projector = Projector(contracts()["issue_refund"], rego_source.reads(HEAD + module))

    assert projector.project(question) == projected


@pytest.mark.parametrize("taken", ["a := input", 'a := input["principal"]', "a := object.get(input, [], 0)"])
def test_module_that_takes_the_input_whole_is_sent_all_of_it(taken: str) -> None:
    """
    Where the text does not say which members are read, none is left out.
    """
    assert rego_source.reads(HEAD + taken) is None


@pytest.mark.parametrize("document", [None, [], {}, {"principal": {}, "action": "a", "resource": {}, "context": {}}])
def test_unreadable_record_is_a_fault(document: object) -> None:
    """
    A replay of what is not a recorded question is refused, not guessed at.
    """
    with pytest.raises(PolicyFault):
        read_question(document)
