"""Runs a state machine whose rules act on the model and on PostgreSQL at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from gateway.storage.books import Books
from tests.world import acts

STEPS = 40


class Both(RuleBasedStateMachine):
    """The same acts on both: what `compare` gives its machines."""

    url: str
    books: Books
    loop: asyncio.AbstractEventLoop


def compare(machine: type[Both], url: str, *, examples: int) -> None:
    """Raise whatever an example of the machine raises. The same examples each time."""
    with asyncio.Runner() as runner:
        loop, stack = runner.get_loop(), AsyncExitStack()
        try:
            books = loop.run_until_complete(stack.enter_async_context(acts.books(url)))
            run_state_machine_as_test(
                type("Agreement", (machine,), {"url": url, "loop": loop, "books": books}),
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=STEPS,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            loop.run_until_complete(stack.aclose())
