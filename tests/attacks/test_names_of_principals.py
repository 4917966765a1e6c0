"""Names that the log cannot say: nobody acts under one, so nobody escapes a switch, a search or a signature."""

from __future__ import annotations

import pytest

from tests.world.stories import AGENT_TOOLS, Story

NAMES = ["Bot", "bot.7", "bot:7", "bot@evil", "7", "b" * 64]


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_whom_no_switch_could_name_does_not_come_in(story: Story, name: str) -> None:
    """
    `engage_kill`, `set_autonomy` and an approver's statement take plain names; so do tokens.
    """
    alone = story.world.cast.issuer.agent("acme", name, AGENT_TOOLS)
    delegated = story.world.cast.issuer.agent("acme", name, AGENT_TOOLS, subject="per_operator_1")

    answers = [story.client.get("/v1/tools", token) for token in (alone, delegated)]

    assert [(answer.status, answer.reason) for answer in answers] == [(401, "token_claims")] * 2


@pytest.mark.parametrize("name", NAMES)
def test_a_person_whom_no_statement_could_name_does_not_come_in(story: Story, name: str) -> None:
    """
    One entry by such a person would have made every search of the tenant's log fail.
    """
    answer = story.client.get("/v1/tools", story.token(name, ["operator"]))

    assert (answer.status, answer.reason) == (401, "token_claims")
