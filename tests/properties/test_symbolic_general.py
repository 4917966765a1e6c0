"""All of Cedar, over any schema: engine, closures and both solvers agree on whatever can be generated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from invariants.errors import Unreadable, Unsupported
from invariants.meaning import encodings, schema_text, schemas
from invariants.meaning.compiler import satisfied
from invariants.meaning.schemas import RequestType, Uid
from invariants.solving import z3_backend
from invariants.solving.answers import Verdict
from policies import cedar_syntax
from policies.cedar_syntax import nodes as pst
from policies.schema import generate
from tests.properties import meanings
from tests.properties.meanings import Situation
from tool_registry.registry import CATALOGUE, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
SEEDS = st.integers(0, 2**32)
# What an unknown set may hold is flat; nothing else that is generated may be refused.
REFUSED = {"set_in_unknown_set", "mixed_in_unknown_set", "extension_of_unknown_text"}

SCHEMA = """
namespace Shop {
  type Money = { cents: Long, currency?: String };
  entity Group;
  entity Person in [Group] = { age?: Long, home?: ipaddr, friends: Set<Person>, purse: Money } tags String;
  entity Colour enum ["red", "green"];
  action read;
  action "look" in [read] appliesTo {
    principal: Person, resource: [Person, Colour],
    context: { amount: Long, at: datetime, note: String, codes: Set<Long>, colour: Colour }
  };
}
"""
LOOK = RequestType(principal="Shop::Person", action=Uid("Shop::Action", "look"), resource="Shop::Person")


def possible(condition: str) -> Verdict:
    """Whether some request and some store make the condition true."""
    policies = cedar_syntax.parse_set(f"permit (principal, action, resource) when {{ {condition} }};")
    encoding = encodings.encode(policies.static_policies, schema_text.read(SCHEMA), LOOK)
    (outcome,) = encoding.outcomes.values()
    return z3_backend.Solver((*encoding.axioms, satisfied(outcome, encoding.universe)), 20_000_000).check()


def can_err(condition: str) -> bool:
    """Whether some request and some store make the condition err."""
    policies = cedar_syntax.parse_set(f"permit (principal, action, resource) when {{ {condition} }};")
    encoding = encodings.encode(policies.static_policies, schema_text.read(SCHEMA), LOOK)
    (outcome,) = encoding.outcomes.values()
    errs = encoding.universe.terms.negation(outcome.ok)
    return z3_backend.Solver((*encoding.axioms, errs), 20_000_000).check() is Verdict.SATISFIABLE


@settings(max_examples=250, deadline=None)
@given(SEEDS)
def test_every_meaning_gives_the_engines_answer(seed: int) -> None:
    """
    Decision, determining policies and errors: closures compute the engine's, and no other is possible to the solver.
    """
    situation = meanings.drawn(seed)
    answer = meanings.by_closures(situation)

    assert meanings.decided(situation, answer) == meanings.by_engine(situation)
    try:
        assert meanings.is_only_answer(situation, answer)
    except Unsupported as refused:
        if refused.reason_code not in REFUSED:
            raise
        reject()


@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_whatever_the_solver_finds_is_so(seed: int) -> None:
    """
    A model becomes a request and entities that fit the schema, and there the engine answers what the solver said.
    """
    situation = meanings.drawn(seed)
    for name in situation.policies:
        try:
            found = list(meanings.witnessed(situation, name))
        except Unsupported:
            reject()
        assert found
        for what, witness in found:
            answer = meanings.by_closures(witness)
            assert (name in answer.satisfied, name in answer.erring) == (what == "satisfied", what == "erring")
            assert meanings.decided(witness, answer) == meanings.by_engine(witness)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_both_solvers_read_one_script_alike(seed: int) -> None:
    """
    Where both give an answer it is the same one, about every request and about a single one.
    """
    try:
        asked = list(meanings.obligations(meanings.drawn(seed)))
    except Unsupported:
        reject()

    for assertions in asked:
        one, two = meanings.by_both_solvers(assertions)
        assert one is two or Verdict.UNKNOWN in (one, two)


@pytest.mark.parametrize(
    "condition",
    [
        "principal.age + 1 > principal.age",
        "principal in resource && resource in principal && principal != resource",
        "principal in resource.friends && !resource.friends.isEmpty()",
        "principal.friends.containsAll(resource.friends) && !resource.friends.containsAny(principal.friends)",
        'principal.getTag("k") like "a*b" && principal.getTag("k") != "ab"',
        'principal.home.isInRange(ip("10.0.0.0/8")) && principal.home.isIpv4()',
        "context.codes.contains(1) && !context.codes.contains(context.amount)",
        'context.at.toDate() < context.at && context.at < datetime("1969-12-31")',
        "principal.purse == resource.purse && principal != resource",
        '(if context.amount > 1 then 1 else "a") == "a"',
        '[principal.purse, {cents: 1}].contains({cents: 1, currency: "x"})',
        'context.colour == Shop::Colour::"red"',
    ],
)
def test_what_can_be_is_found(condition: str) -> None:
    """
    A universal question with a witness: the solver finds one, across every kind of value.
    """
    expected = Verdict.UNSATISFIABLE if "resource in principal" in condition else Verdict.SATISFIABLE

    assert possible(condition) is expected


@pytest.mark.parametrize(
    "condition",
    [
        "principal in resource && resource in principal && principal != resource",
        'principal in Shop::Group::"a" && Shop::Group::"a" in principal',
        "principal.friends.isEmpty() && principal.friends.contains(resource)",
        "context.codes.containsAll([1, 2]) && !context.codes.contains(2)",
        "context.codes == [1] && context.codes != [1, 1]",
        "[1, 2].containsAll(context.codes) && [3].containsAny(context.codes)",
        'principal.getTag("k") like "a*" && principal.getTag("k") == "ba"',
        'principal.home.isInRange(ip("10.0.0.0/8")) && principal.home.isInRange(ip("11.0.0.0/8"))',
        "principal.home.isLoopback() && principal.home.isMulticast()",
        "context.at.toTime().toHours() > 23",
        'context.at.toDate().toTime() != duration("0ms")',
        "principal == resource && principal.purse != resource.purse",
        "principal in principal.friends && !(principal.friends.contains(principal)) && principal in [] ",
        'context.colour != Shop::Colour::"red" && context.colour != Shop::Colour::"green"',
        "context.note == context.amount",
        'principal.hasTag("a") && !(principal.getTag("a") like "*")',
    ],
)
def test_what_cannot_be_is_shown(condition: str) -> None:
    """
    A universal question without a witness: the solver shows that there is none.
    """
    assert possible(condition) is Verdict.UNSATISFIABLE


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("principal.age > 1", True),
        ("principal has age && principal.age > 1", False),
        ("context.amount * 2 > 1", True),
        ("context.amount < 100 && context.amount > -100 && context.amount * 2 > 1", False),
        ('principal.getTag("k") == "a"', True),
        ('principal.hasTag("k") && principal.getTag("k") == "a"', False),
        ("principal.purse.cents > 1", True),  # The principal need not exist.
        ("context.at.toDate() == context.at", True),
        ("principal in context.codes", True),
        ("principal in principal.friends", True),
        ('context.note like "a"', False),
        ("[context.amount, context.note].contains(1)", False),
        ('ip("1.2.3.4/33").isIpv4()', True),
        ("if context.amount > 0 then context.amount - 1 > 0 else true", False),
    ],
)
def test_errors_are_found_and_shown(condition: str, expected: bool) -> None:
    """
    Missing attributes, tags and entities, overflow, wrong types: an error is possible exactly where Cedar has one.
    """
    assert can_err(condition) is expected


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("ip(context.note).isIpv4()", "extension_of_unknown_text"),
        ("principal.friends.containsAll([[resource]]) || context.codes.contains([1])", ""),
        ("false && ip(context.note).isIpv4()", ""),
    ],
)
def test_what_has_no_exact_meaning_is_refused(condition: str, reason: str) -> None:
    """
    A value that only a text of the request knows is refused with its reason; what Cedar never evaluates is not.
    """
    try:
        possible(condition)
        found = ""
    except Unsupported as refused:
        found = refused.reason_code

    assert found == reason


def test_refusal_says_where() -> None:
    """
    Rule, clause, line and column, past comments and strings that look like Cedar.
    """
    text = """// when { a }
@note("when { } ;
unless")
permit (principal, action, resource)
when { context.note == "unless { // }" };
forbid (principal, action, resource) when { true }
  unless { ip(context.note).isIpv4() };"""
    policies = cedar_syntax.parse_set(text).static_policies

    with pytest.raises(Unsupported) as refused:
        encodings.encode(policies, schema_text.read(SCHEMA), LOOK, cedar_syntax.places(text))

    assert refused.value.where == "rule `policy1`, clause 2, line 7, column 3"
    assert cedar_syntax.places(text)["policy0"] == cedar_syntax.Place((2, 1), ((5, 1),))


@pytest.mark.parametrize(
    "deep",
    [
        "(" * 20_000 + "true" + ")" * 20_000,
        "[" * 20_000 + "]" * 20_000 + " == 1",
        "||".join(["true"] * 20_000),
        "&&".join(["true"] * 20_000),
        "+".join(["1"] * 20_000) + " == 1",
        "if true then true else " * 20_000 + "true",
        "if " * 20_000 + "true" + " then true else true" * 20_000,
        "context" + ".a" * 20_000,
        "context" + '["a"]' * 20_000,
        "context" + ".contains(1)" * 20_000,
        "context.contains(" * 20_000 + "1" + ")" * 20_000,
        "context has " + ".".join(["a"] * 20_000),
        "{a: " * 20_000 + "1" + "}" * 20_000 + " == 1",
        "!(" * 20_000 + "true" + ")" * 20_000,
    ],
    ids=range(14),
)
def test_text_that_would_end_the_process_is_refused(deep: str) -> None:
    """
    The engine's parser dies of deep nesting; such text is refused before it gets there.
    """
    text = f"permit (principal, action, resource) when {{ {deep} }};"

    for read in (cedar_syntax.parse, cedar_syntax.parse_set):
        with pytest.raises(cedar_syntax.SyntaxRefused):
            read(text)


def test_text_that_is_long_and_flat_is_read() -> None:
    """
    Many rules and long lists are no nesting.
    """
    many = ", ".join(f'"text {number}"' for number in range(5_000))
    rules = [f"permit (principal, action, resource) when {{ [{many}].contains(context.note) }};"]
    rules += ["forbid (principal, action, resource) when { 1 + 1 < 3 && context.a.b || -1 > 2 };"] * 1_000

    assert len(cedar_syntax.parse("\n".join(rules))) == 1_001


def test_every_reason_of_the_compiler_is_documented() -> None:
    """
    Whoever meets a refusal finds it in docs/invariants.md.
    """
    page = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")

    found = {
        reason
        for source in ("compiler", "universe", "grounding", "encodings", "evaluation")
        for reason in re.findall(
            r'Unsupported\("([a-z_0-9]+)"', (ROOT / "invariants" / "meaning" / f"{source}.py").read_text()
        )
    }

    assert {reason for reason in found if f"`{reason}`" not in page} == set()
    assert "extension_of_unknown_text" in found


def test_linked_template_means_what_the_engine_means() -> None:
    """
    A template takes part by its links alone, each with its own values.
    """
    node = cedar_syntax.parse_set("permit (principal == ?principal, action, resource in ?resource);")
    (name,) = node.templates
    values = {
        "principal": pst.EntityUid(pst.EntityType("Person", ("Shop",)), "a"),
        "resource": pst.EntityUid(pst.EntityType("Group", ("Shop",)), "g"),
    }
    linked = pst.PolicySet(node.templates, {}, (pst.TemplateLink(name, "link", values),))  # type: ignore[arg-type]

    policies = cedar_syntax.linked(linked)
    scope = 'principal == Shop::Person::"a", action, resource in Shop::Group::"g"'
    (static,) = cedar_syntax.parse_set(f"permit ({scope});").static_policies.values()
    encoding = encodings.encode({**policies, "static": static}, schema_text.read(SCHEMA), LOOK)

    assert list(policies) == ["link"]
    one, two = (satisfied(encoding.outcomes[each], encoding.universe) for each in ("link", "static"))
    assert one is two
    assert one is not encoding.universe.terms.false
    with pytest.raises(Unsupported, match="template_slot"):
        encodings.encode(node.templates, schema_text.read(SCHEMA), LOOK)


def test_generated_schema_is_one_of_the_general_ones() -> None:
    """
    Read as text, the schema of the tool registry names the entities and actions that its typed form does.
    """
    generated = generate(load_catalogue(CATALOGUE).contracts.values())

    typed, read = schemas.of_tools(generated.typed), schema_text.read(generated.text)

    assert typed.kinds.keys() == read.kinds.keys()
    assert {uid: (act.parents, act.principals, act.resources) for uid, act in typed.acts.items()} == {
        uid: (act.parents, act.principals, act.resources) for uid, act in read.acts.items()
    }


@pytest.mark.parametrize(
    "text",
    [
        "entity",
        "entity A = { a: Nothing };",
        "entity A in [B];",
        "type T = T; entity A = { a: T };",
        'action a in ["b", Other::Action::"c"];',
        "entity A = " + "{ a: " * 100 + "Long" + "}" * 100 + ";",
        'entity A = { "\\q": Long };',
        "entity A; ÿ",
        'entity A = { "a: Long };',
    ],
)
def test_text_that_is_no_schema_is_refused(text: str) -> None:
    """
    Half a declaration, an unknown name, a type inside itself, nesting without end: refused, with the line.
    """
    with pytest.raises(Unreadable, match="schema"):
        schema_text.read(text)


def test_characters_beyond_solvers_stay_apart() -> None:
    """
    Characters for which solvers have no literal are not mixed up with one another, with surrogates or with escapes.
    """
    texts = ["\U00030000", "\U00030001", "\U0010ffff", "\\u{d800}", "a\U00030000", "\0"]
    schema = "entity A; action look appliesTo { principal: A, resource: A, context: { note: String } };"
    for one in texts:
        for two in texts:
            policy = f"permit (principal, action, resource) when {{ context.note == {_quoted(one)} }};"
            request = {
                "principal": {"type": "A", "id": two},
                "action": {"type": "Action", "id": "look"},
                "resource": {"type": "A", "id": one},
                "context": {"note": two},
            }
            situation: Situation = meanings.situation(schema, policy, [], json.loads(json.dumps(request)))
            answer = meanings.by_closures(situation)
            assert bool(answer.satisfied) is (one == two)
            assert meanings.decided(situation, answer) == meanings.by_engine(situation)
            assert meanings.is_only_answer(situation, answer)


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\u{{{ord(character):x}}}" for character in text) + '"'
