"""A bundle of a size that nobody has yet: many policies over twenty tools, with invariants that follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from invariants.jobs import Job, job
from policies.schema import ActionType, LongType, generate
from tool_registry.contracts import Effect
from tool_registry.registry import load_catalogue

TOOLS = 20
INVARIANTS = 10
POLICIES = 1000
_ROLES = ("operator", "sre", "safety", "finance", "growth", "commerce", "security", "founder")


def large(policies: int = POLICIES, seed: int = 0) -> Job:
    """A proof run over a generated bundle: a guard for each invariant, and rules of every kind around it."""
    writes = [each for each in load_catalogue().contracts.values() if each.effect is not Effect.READ]
    contracts = sorted(writes, key=lambda each: each.name)[:TOOLS]
    schema = generate(contracts)
    actions = list(schema.typed.actions.values())
    random = Random(seed)
    rules = [*_guards(actions), *_rules(actions, random, policies - 2 * INVARIANTS)]
    files = {"policies.cedar": "\n".join(rules), "invariants.cedar": "\n".join(_invariants(actions))}
    return job(files, schema, contracts)


def _guards(actions: list[ActionType]) -> Iterator[str]:
    """For each invariant the guards that it follows from: one over its tool, one over the group of all writes."""
    for number in range(INVARIANTS):
        name = actions[number].name
        yield (
            f'@id("guard-{number}") forbid (principal, action == Action::"{name}", resource) '
            f"when {{ context.risk >= 2 && context.approvals.persons < {1 + number % 2} }};"
        )
        yield (
            f'@id("wide-{number}") forbid (principal is Agent, action in Action::"write", resource) '
            f'unless {{ context.autonomy >= 2 || resource == Tenant::"t{number}" }};'
        )


def _invariants(actions: list[ActionType]) -> Iterator[str]:
    for number in range(INVARIANTS):
        name = actions[number].name
        yield (
            f'@id("kept-{number}") @sentence("At R2 or above {1 + number % 2} approve.") '
            f'forbid (principal, action == Action::"{name}", resource) '
            f"unless {{ context.risk < 2 || context.approvals.persons >= {1 + number % 2} }};"
        )


def _rules(actions: list[ActionType], random: Random, count: int) -> Iterator[str]:
    for number in range(count):
        action = actions[number % len(actions)]
        effect = "permit" if random.random() < 0.4 else "forbid"
        scope = f'action == Action::"{action.name}"'
        if random.random() < 0.02:
            scope = 'action in Action::"write"'
        condition = " && ".join(_conditions(action, random, wide=scope.startswith("action in")))
        # Forbids hold in a future of their own, so that something is permitted before it.
        begins = random.randint(0, 10**9) if effect == "permit" else random.randint(10**10, 10**11)
        condition += f" && context.now > {begins}"
        yield f'@id("rule-{number}") {effect} (principal, {scope}, resource) when {{ {condition} }};'


def _conditions(action: ActionType, random: Random, *, wide: bool) -> Iterator[str]:
    role = random.choice(_ROLES)
    yield random.choice(
        (
            f'principal in Role::"{role}"',
            f"context.approvals.{role} >= {random.randint(0, 3)}",
            f'context.tenant == "tenant-{random.randint(0, 50)}"',
            f"context.risk <= {random.randint(0, 3)}",
        )
    )
    arguments = action.context.attribute("arguments")
    members = getattr(arguments.type, "attributes", ()) if arguments is not None and not wide else ()
    longs = [each for each in members if isinstance(each.type, LongType) and each.is_required]
    if longs:
        member = random.choice(longs)
        yield f"context.arguments.{member.name} * {random.randint(1, 9)} > {random.randint(0, 100_000)}"
